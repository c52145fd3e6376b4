"""CVXPY's last reduction, to matrices, in memory that grows with their entries.

CVXPY makes a dense array of a quadratic objective that has parameters, with a row for each variable
and a column for each entry of each parameter of the problem. It multiplies a parameter elementwise
in memory that grows with the square of its entries.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.affine.binary_operators import DivExpression
from cvxpy.atoms.affine.index import index
from cvxpy.atoms.affine.unary_operators import NegExpression
from cvxpy.cvxcore.python import canonInterface
from cvxpy.lin_ops.canon_backend import TensorRepresentation
from cvxpy.lin_ops.lin_op import CONSTANT_ID
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.inverse_data import InverseData
from cvxpy.settings import COO_CANON_BACKEND
from cvxpy.utilities.coeff_extractor import CoeffExtractor

_REARRANGING = (cp.reshape, cp.transpose, cp.conj, cp.multiply, index, NegExpression, DivExpression)


class Stuffing(ConeMatrixStuffing):
    """CVXPY's, with sparse coefficients of quadratic objectives and sparse elementwise products."""

    def apply(self, problem: Any) -> tuple[Any, Any]:
        """The parametrized program of an affine problem, and what inverts it."""
        if self.canon_backend == COO_CANON_BACKEND:  # CVXPY's choice where parameters are large
            problem = _without_elementwise(problem)
        program: tuple[Any, Any] = ConeMatrixStuffing.apply(self, problem)
        return program

    def stuffed_objective(self, problem: Any, extractor: Any) -> tuple[Any, Any, Any]:
        """The maps of CVXPY's parameter vector to P and to q, and x."""
        extractor.extract_quadratic_coeffs = partial(_coefficients, extractor)
        tensors: tuple[Any, Any, Any] = ConeMatrixStuffing.stuffed_objective(
            self, problem, extractor
        )
        return tensors


def _without_elementwise(problem: Any) -> Any:
    """The same problem with diag(p) x in place of each elementwise product of p and x."""
    products: dict[int, Any] = {}
    for part in (problem.objective, *problem.constraints):
        _rewrite(part, products)
    if not products:
        return problem
    objective, *constraints = (
        part.tree_copy(id_objects=products) for part in (problem.objective, *problem.constraints)
    )
    return problem.copy([objective, constraints])


def _rewrite(part: Any, products: dict[int, Any]) -> None:
    """Add the products in a part of a problem, inner ones first, by id()."""
    for argument in part.args:
        _rewrite(argument, products)
    if isinstance(part, cp.multiply):
        p, x = sorted(part.args, key=lambda argument: bool(argument.variables()))
        if x.variables() and _is_rearranged(p):
            x = cp.vec(x.tree_copy(id_objects=products), order="F")
            product = cp.diag(cp.vec(p, order="F")) @ x
            products[id(part)] = cp.reshape(product, part.shape, order="F")


def _is_rearranged(expression: Any) -> bool:
    """Whether it is a parameter's entries, each at most once: CVXPY 1.9.0 drops repeated ones."""
    if isinstance(expression, _REARRANGING):
        moved = [argument for argument in expression.args if argument.parameters()]
        return len(moved) == 1 and _is_rearranged(moved[0])
    return isinstance(expression, cp.Parameter) and expression.size > 1


def _coefficients(extractor: Any, affine: Any, forms: dict[int, Any]) -> tuple[Any, Any]:
    """What CVXPY's `extract_quadratic_coeffs` returns: P and q of each variable, the constant.

    Parameters
    ----------
    extractor : CoeffExtractor
    affine : Expression
        The objective with a variable of its own, z_k, in place of each quadratic form.
    forms : dict
        The quadratic form, last of three values, of each z_k, by id.
    """
    columns = sum(extractor.param_to_size.values())  # one for each entry of a parameter, and 1
    if columns == 1:
        return CoeffExtractor.extract_quadratic_coeffs(extractor, affine, forms)
    where, offsets, length, _ = InverseData.get_var_offsets(affine.variables())
    tensor = sp.csr_array(_tensor(extractor, affine, length, offsets))
    parts: dict[int, dict[str, Any]] = {}
    for name, (start, size) in where.items():
        rows = tensor[start : start + size]
        if name in forms:
            form = forms[name][2]
            P = _weighted(extractor, form, rows)
            part = parts.setdefault(form.args[0].id, {})
            part["P"] = part["P"] + P if "P" in part else P
            part.setdefault("q", sp.csr_array((P.shape[0], columns)))
        else:
            part = parts.setdefault(name, {})
            part["q"] = part["q"] + rows if "q" in part else rows
    return parts, tensor[[-1]]


def _weighted(extractor: Any, form: Any, weights: sp.csr_array) -> TensorRepresentation:
    """The matrix of Σ_k weights_k z_k, where z_k = Σ P_ij x_i x_j over the i and j of its own.

    Where there are several z_k, no x_i stands in two of them.
    """
    n = form.P.shape[0]
    if form.P.parameters():  # then there is one z_k, and its weight is a number
        entries = sp.coo_array(_tensor(extractor, form.P, 0, {}))
        weight = weights[0, extractor.param_id_map[CONSTANT_ID]]
        return TensorRepresentation(
            entries.data * weight, entries.row % n, entries.row // n, entries.col, (n, n)
        )
    P = sp.coo_array(form.P.value)
    owner = np.arange(n)
    if weights.shape[0] == 1:
        owner = np.zeros(n, dtype=int)
    elif form.block_indices is not None:
        for k, indices in enumerate(form.block_indices):
            owner[indices] = k
    owned = sp.csr_array(
        (P.data, (np.arange(P.nnz), owner[P.row])), shape=(P.nnz, weights.shape[0])
    )
    entries = sp.coo_array(owned @ weights)
    return TensorRepresentation(
        entries.data, P.row[entries.row], P.col[entries.row], entries.col, (n, n)
    )


def _tensor(extractor: Any, affine: Any, length: int, offsets: dict[int, int]) -> Any:
    """The map of CVXPY's parameter vector to the coefficients of an affine expression."""
    return canonInterface.get_problem_matrix(
        [affine.canonical_form[0]],
        length,
        offsets,
        extractor.param_to_size,
        extractor.param_id_map,
        affine.size,
        extractor.canon_backend,
    )
