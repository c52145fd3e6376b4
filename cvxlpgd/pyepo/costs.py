"""Whether a layer's objective is its cost times its variable, and a constant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxlpgd.errors import InvalidProblem
from cvxlpgd.layer import Layer

ELSE = "; the losses of cvxlpgd.losses take such layers"


class KnownCosts(NamedTuple):
    """What PyEPO asks a model for whose objective is more than c'x, by PyEPO's names."""

    num_vars: int
    fixed_cost: np.ndarray  # the part of the cost that is not predicted, (num_vars,)
    c_pred_index: np.ndarray  # where the predicted costs are, int
    obj_offset: float
    obj_Q: None = None  # noqa: N815


def known_costs(size: int, constant: float) -> KnownCosts:
    """Those of the objective c'x + constant."""
    return KnownCosts(size, np.zeros(size), np.arange(size), constant)


def check_costs(layer: Layer) -> float:
    """The constant k of a layer whose objective is c'x + k, for its parameter c and variable x.

    The layer's programs minimize q(c)'z + d(c), for x = M z. The user's objective is that times
    the sign s, -1 where it is maximized. It is c'x + k for all z and c exactly where

        s q(c) = M'c,    s d(c) = k

    Raises
    ------
    InvalidProblem
        For any other, with the reason.
    """
    canonical, domains = layer.canonical, layer.domains
    outputs = canonical.variables.outputs
    if len(domains) != 1:
        raise InvalidProblem(
            f"PyEPO predicts one cost, and the layer has {len(domains)} parameters: list the cost "
            "alone, and the others keep the values that they have when the layer is made"
        )
    if len(outputs) != 1 or outputs[0].field != "x":
        raise InvalidProblem("PyEPO's solution is one primal variable: list one, and no dual one")
    name, out = domains[0].name, outputs[0]
    if canonical.exponential:
        raise InvalidProblem("a geometric program has no linear cost")
    varying = layer.structure.varying
    if any(len(v) for v in (varying.P, varying.A, varying.b)):
        raise InvalidProblem(
            f"parameter {name} is in the constraints or in a curved term: PyEPO's cost enters the "
            "objective alone, and linearly"
        )
    if layer.sizes[0] != domains[0].size or domains[0].pattern is not None:
        raise InvalidProblem(
            f"parameter {name} has {domains[0].size} entries, and the variable {layer.sizes[0]}: "
            "PyEPO's solution has an entry for each cost; leave sparse parameters dense, and state "
            "what is not chosen by the cost with a variable that is not listed"
        )
    if layer.structure.P.size:
        raise InvalidProblem(f"the objective has a quadratic term, which PyEPO does not take{ELSE}")
    q, offset = canonical.parameters.blocks["q"], canonical.parameters.blocks["offset"]
    count = len(q.varying)
    places = np.ones(count), (q.varying, np.arange(count))
    linear = canonical.sign * (sp.csr_array(places, shape=(layer.structure.n, count)) @ q.matrix)
    if q.base.any() or len(offset.varying) or (linear != sp.csr_array(out.matrix.T)).nnz:
        raise InvalidProblem(
            f"the objective is not {name}'x plus a constant, row by row, for the variable x that "
            f"the layer returns: PyEPO takes no factors and no other terms{ELSE}"
        )
    return float(canonical.sign * offset.base[0, 0])
