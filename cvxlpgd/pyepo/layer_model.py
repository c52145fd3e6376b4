"""A layer as a model of PyEPO's, so that its losses, data sets and metrics train with it."""

from __future__ import annotations

from copy import copy
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from pyepo import EPO
from pyepo.model.opt import optModel

from cvxlpgd.errors import InvalidInput, InvalidOption
from cvxlpgd.layer import Layer, compile_layer, real, summarize
from cvxlpgd.pyepo.costs import check_costs, known_costs

GRID = 2.0**-30  # relative spacing of solutions, about 1e-9: finer than solvers' own tolerances


class LayerModel(optModel):
    """A layer as an `optModel` of PyEPO's: its losses, data sets and metrics run on it.

        setObj(c), then solve() -> (x*(c), c'x*(c) + constant)

    c and x are flattened row by row, as NumPy's and torch's `reshape` do. The sense is that of the
    layer's objective. The layer is shared, never written to; its derivative is not used, since
    PyEPO's losses have gradients of their own.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter and one variable of the same size, and the objective c'x, plus a constant
        if there is one; c stands nowhere else. `on_failure` is "raise".

    Raises
    ------
    InvalidOption
        For what is not a layer, and for on_failure="nan".
    InvalidProblem
        For a layer with another objective, or more parameters or variables.

    References
    ----------
    Tang, Khalil, "PyEPO: a PyTorch-based end-to-end predict-then-optimize library for linear and
    integer programming", Mathematical Programming Computation 2024.
    """

    __module__ = "cvxlpgd.pyepo"  # where users import it from

    def __init__(self, layer: Any) -> None:
        inner = layer if isinstance(layer, Layer) else getattr(layer, "_layer", None)
        if not isinstance(inner, Layer):
            raise InvalidOption(f"LayerModel needs a CvxpyLayer of torch or NumPy, not {layer!r}")
        if inner.settings.on_failure != "raise":
            raise InvalidOption(
                'PyEPO cannot leave out a sample: make the layer with on_failure="raise"'
            )
        constant = check_costs(inner)
        self.layer, self._cost = inner, np.zeros(inner.domains[0].shape)
        self.modelSense = EPO.MINIMIZE if inner.canonical.sign > 0 else EPO.MAXIMIZE
        # where PyEPO looks for the objective's constant term
        self.problem = known_costs(inner.sizes[0], constant) if constant else None
        super().__init__()

    def __repr__(self) -> str:
        return f"LayerModel({summarize(self.layer)})"

    def _getModel(self) -> tuple[Layer, range]:
        """The layer, and what PyEPO counts the costs by."""
        return self.layer, range(self.layer.sizes[0])

    def get_config(self) -> dict[str, Any]:
        """What PyEPO makes the model of in another process: the layer."""
        return {"layer": self.layer}

    def copy(self) -> LayerModel:
        """A model of the same layer, with a cost of its own."""
        return copy(self)

    def setObj(self, c: Any) -> None:
        """Set the cost, (num_cost,), in the variable's entries row by row.

        Raises
        ------
        InvalidInput
            For another shape, or what is not real numbers.
        """
        host = c.detach().cpu() if isinstance(c, torch.Tensor) else c
        cost = real(host, "the cost").astype(float)
        if cost.shape != (self.num_cost,):
            raise InvalidInput(f"the cost has shape {cost.shape}, expected ({self.num_cost},)")
        self._cost = cost.reshape(self._cost.shape)

    def solve(self) -> tuple[np.ndarray, float]:
        """The solution (num_cost,) for the cost that was set, and its objective.

        Entries are rounded to multiples of 1e-9 of the largest. PyEPO's losses of solution pools
        compare solutions bit by bit, and a vertex that two solves reach is then one, not two.

        Raises
        ------
        SolveFailed
            Where there is none.
        InvalidInput
            For a cost outside of its parameter's domain.
        """
        call = self.layer.forward([self._cost])
        return _snap(call.outputs[0][0]), float(np.ravel(call.record.objective)[0])

    def addConstr(self, coefs: Any, rhs: float) -> LayerModel:
        """A model with the further constraint coefs'x <= rhs, and the same cost set.

        Raises
        ------
        InvalidInput
        InvalidOption
            For a copy of a layer, which does not have the CVXPY problem.
        """
        row = real(coefs, "coefs").astype(float)
        if row.shape != (self.num_cost,):
            raise InvalidInput(f"coefs has shape {row.shape}, expected ({self.num_cost},)")
        inner, variable = self.layer, _variable(self.layer)
        problem = inner.origin.problem
        cut = cp.sum(cp.multiply(row.reshape(variable.shape), variable)) <= float(rhs)
        narrowed = cp.Problem(problem.objective, [*problem.constraints, cut])
        model = LayerModel(
            compile_layer(narrowed, inner.origin.parameters, [variable], inner.settings)
        )
        model._cost = self._cost
        return model


def _snap(x: np.ndarray) -> np.ndarray:
    """The nearest multiples of GRID times the power of two at or below the largest entry."""
    spacing = GRID * 2.0 ** np.floor(np.log2(abs(x).max(initial=0.0) or 1.0))
    return np.rint(x / spacing) * spacing + 0.0  # and no -0.0


def _variable(layer: Layer) -> cp.Variable:
    """The variable that the layer returns."""
    canonical, matrix = layer.canonical, layer.canonical.variables.outputs[0].matrix
    pairs = zip(layer.origin.problem.variables(), canonical.everything.outputs, strict=True)
    return next(
        variable for variable, own in pairs
        if own.matrix.shape == matrix.shape and not (own.matrix != matrix).nnz
    )  # fmt: skip
