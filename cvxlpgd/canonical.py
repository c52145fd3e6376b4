"""CVXPY problem -> structure and affine maps. The only file that knows CVXPY's insides.

CVXPY's own reductions do the work; a target of ours at the end of the chain takes the parametrized
cone program as it is. The sign of A is flipped here and nowhere else: CVXPY writes Ax + b in K.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.cvx_attr2constr import CvxAttr2Constr, lower_value, recover_value_for_leaf
from cvxpy.reductions.dgp2dcp.dgp2dcp import Dgp2Dcp
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver
from cvxpy.reductions.solvers.conic_solvers.scs_conif import SCS

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.errors import InvalidProblem
from cvxlpgd.maps import Block, Output, ParameterMap, VariableMap
from cvxlpgd.program import Data, Structure
from cvxlpgd.sparse import Pattern

# What CVXPY may hand over in its cone program. Anything else could carry a constraint.
_UNDERSTOOD = frozenset(
    "q A P x reduced_A reduced_P constraints constr_size constr_map cone_dims parameters "
    "param_id_to_col id_to_param param_id_to_size total_param_size variables "
    "var_id_to_col id_to_var formatted".split()
)
_UNUSED = frozenset(["lower_bounds", "upper_bounds", "lb_tensor", "ub_tensor", "dir_cones"])
# What CVXPY raises for a problem; a ValueError too, as for an unknown backend.
_REFUSALS = (
    cp.error.DCPError, cp.error.DGPError, cp.error.DPPError, cp.error.SolverError, ValueError
)  # fmt: skip
_FOLDED = ("diag", "sparsity", "symmetric", "PSD", "NSD")


@dataclass(frozen=True, eq=False)
class Canonical:
    """A canonicalized problem.

    Parameters
    ----------
    structure : Structure
    parameters : ParameterMap
        Listed parameters, flattened row by row, to data.
    variables, everything : VariableMap
        Points to the returned variables, and to all of the problem's variables.
    sign : float
        -1 where the user maximizes.
    exponential : bool
        Whether the objective is the exponential of the canonical one (gp=True).
    """

    structure: Structure
    parameters: ParameterMap
    variables: VariableMap
    everything: VariableMap
    sign: float
    exponential: bool


class _Target(SCS):
    """The end of CVXPY's chain: SCS's cones and row layout, integers too, nothing evaluated."""

    MIP_CAPABLE = True
    MI_SUPPORTED_CONSTRAINTS = SCS.SUPPORTED_CONSTRAINTS
    REQUIRES_CONSTR = False

    def name(self) -> str:
        return "CVXLPGD"

    def import_solver(self) -> None:
        """Nothing to import."""

    def supports_quad_obj(self) -> bool:
        return True

    def apply(self, problem: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The program with unordered rows, and old row +-(i + 1) of each ordered row."""
        rows = problem.A.shape[0] // (problem.x.size + 1)
        index = copy.copy(problem)
        index.A = sp.csc_array(np.arange(1.0, rows + 1)[:, None])
        index.x = SimpleNamespace(size=0, id=problem.x.id)
        index.P = None
        order = ConicSolver.format_constraints(index, exp_cone_order=[0, 1, 2])
        _, _, inverse = self._prepare_data_and_inv_data(order)
        inverse[cp.settings.OFFSET] = 0.0
        return {"program": problem, "order": order.A.toarray().ravel()}, inverse

    def invert(self, solution: dict[str, Any], inverse_data: Any) -> Any:
        return ConicSolver.invert(self, solution, inverse_data)


def canonicalize(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    gp: bool = False,
    canon_backend: str | None = None,
) -> Canonical:
    """Compile a problem whose parameters are all listed, but for those in variables' bounds.

    Parameters
    ----------
    problem : cp.Problem
        DPP (with gp: DPP in the sense of geometric programs).
    parameters, variables
        Inputs and outputs of the layer; a variable may be a constraint's dual variable.

    Raises
    ------
    InvalidProblem
        Where CVXPY cannot compile it, or hands over something unknown.
    """
    try:
        with warnings.catch_warnings():
            # CVXPY reads its own sparse variables in a way that it warns against
            warnings.filterwarnings("ignore", "Reading from a sparse CVXPY", RuntimeWarning)
            data, chain, inverse = problem.get_problem_data(
                _Target(), gp=gp, enforce_dpp=True, canon_backend=canon_backend
            )
    except _REFUSALS as e:
        raise InvalidProblem(f"CVXPY cannot compile the problem: {e}") from e
    program, order = data["program"], data["order"]
    _check_understood(program)
    theta = _Theta(program, chain, parameters)
    n, m = program.x.size, len(order)

    P, P_block = _quadratic(program.P, n, theta)
    A, A_block, b_block = _rows(program.A, order, n, theta)
    q = theta.split(program.q)
    blocks = {
        "P": P_block,
        "q": _block(np.arange(n), q[0][:n], q[1][:n]),
        "A": A_block,
        "b": b_block,
        "offset": _block(np.arange(1), q[0][n:], q[1][n:]),
    }
    primal = {v.id: _recovery(v, program, chain) for v in problem.variables()}
    structure = Structure(
        P=P,
        A=A,
        cones=_cones(program.cone_dims),
        integer=np.array([i for (i,) in program.x.integer_idx], dtype=np.int64),
        boolean=np.array([i for (i,) in program.x.boolean_idx], dtype=np.int64),
        varying=Data(**{name: blocks[name].varying for name in ("P", "q", "A", "b")}),
        user=np.asarray(sum((abs(r).sum(axis=0) for r in primal.values()), np.zeros(n))).ravel(),
    )
    duals = _dual_recovery(problem, variables, primal, chain, inverse, n, m)
    recovered = primal | duals

    def outputs(wanted: Sequence[cp.Variable]) -> VariableMap:
        return VariableMap(tuple(
            Output(v.name(), v.shape, v.id in duals, gp and v.id in primal, recovered[v.id])
            for v in wanted
        ))  # fmt: skip

    return Canonical(
        structure,
        ParameterMap(blocks, theta.sources, theta.starts),
        outputs(variables),
        outputs(problem.variables()),
        -1.0 if isinstance(problem.objective, cp.Maximize) else 1.0,
        gp,
    )


def _check_understood(program: Any) -> None:
    unknown = vars(program).keys() - _UNDERSTOOD - _UNUSED
    if unknown:
        raise InvalidProblem(
            f"this version of CVXPY hands over {sorted(unknown)}, which cvxlpgd does not know and "
            f"must not drop; install a version that the README names"
        )
    for name in _UNUSED & vars(program).keys():
        value = getattr(program, name)
        if name == "lower_bounds" and value is not None:
            # CVXPY notes that a boolean variable is nonnegative, which it is anyway
            boolean = [i for (i,) in program.x.boolean_idx]
            value = [v for v in np.delete(value, boolean) if v > -np.inf]
        if value is not None and len(value if isinstance(value, list) else [value]):
            raise InvalidProblem(f"CVXPY moved constraints to {name!r}, which cvxlpgd cannot read")
    if program.cone_dims.pnd:
        raise InvalidProblem("CVXPY left n-dimensional power cones, which cvxlpgd cannot read")


def _cones(dims: Any) -> tuple[Cone, ...]:
    cones: list[Cone] = []
    if dims.zero:
        cones.append(Zero(dims.zero))
    if dims.nonneg:
        cones.append(NonNeg(dims.nonneg))
    cones += [SOC(k) for k in dims.soc] + [PSD(k) for k in dims.psd]
    return tuple(cones + [Exp()] * dims.exp + [Pow(float(a)) for a in dims.p3d])


class _Theta:
    """The listed parameters as one vector, and CVXPY's parameter vector as a map of it."""

    def __init__(self, program: Any, chain: Any, parameters: Sequence[cp.Parameter]) -> None:
        self.columns = program.total_param_size + 1
        self.constant = program.param_id_to_col[-1] if program.total_param_size else 0
        self.frozen = np.zeros(self.columns)
        self.frozen[self.constant] = 1.0
        logs = {p.id: new for r in chain.reductions if isinstance(r, Dgp2Dcp)
                for p, new in r.canon_methods._parameters.items()}  # fmt: skip
        folds = {p.id: (p, new) for r in chain.reductions if isinstance(r, CvxAttr2Constr)
                 for p, new in r._parameters.items()}  # fmt: skip
        sources, starts, picks, known = [], [0], [], set()
        for log in (False, True):
            for i, parameter in enumerate(parameters):
                leaf = logs.get(parameter.id) if log else parameter
                if leaf is None:
                    continue
                order = np.arange(float(leaf.size)).reshape(leaf.shape)
                if leaf.id in folds:
                    leaf, folded = folds[leaf.id]
                    order, leaf = lower_value(leaf, order), folded
                if log or leaf.id in program.param_id_to_col or not logs:
                    sources.append((i, log))
                    picks.append((program.param_id_to_col.get(leaf.id), order, starts[-1]))
                    starts.append(starts[-1] + parameter.size)
                    known.add(leaf.id)
        for leaf in program.parameters:
            if leaf.id not in known:  # a frozen parameter in a variable's bounds
                start = program.param_id_to_col[leaf.id]
                self.frozen[start : start + leaf.size] = np.ravel(leaf.value, order="F")
        self.sources, self.starts = tuple(sources), tuple(starts)
        rows, cols = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
        for column, order, start in picks:
            if column is not None:
                rows.append(column + np.arange(order.size))
                cols.append(start + np.ravel(order, order="F").astype(int))
        where = (np.concatenate(rows), np.concatenate(cols))
        self.picks = sp.csr_array((np.ones(len(where[0])), where), shape=(self.columns, starts[-1]))

    def split(self, tensor: Any) -> tuple[np.ndarray, sp.csr_array]:
        """(constant part, map of theta) of a map of CVXPY's parameter vector."""
        tensor = sp.csr_array(tensor)
        return tensor @ self.frozen, sp.csr_array(tensor @ self.picks)


def _block(order: np.ndarray, base: np.ndarray, matrix: sp.csr_array) -> Block:
    """The block of the entries base[order] and rows matrix[order]."""
    matrix = sp.csr_array(matrix[order])
    matrix.eliminate_zeros()
    varying = np.flatnonzero(np.diff(matrix.indptr))
    return Block(np.asarray(base[order])[None], varying, sp.csr_array(matrix[varying]))


def _quadratic(tensor: Any, n: int, theta: _Theta) -> tuple[Pattern, Block]:
    """P from its tensor, rows i + n j, made symmetric: (P + P')/2."""
    if tensor is None:
        tensor = sp.csc_array((n * n, theta.columns))
    entries = sp.coo_array(tensor)
    i, j = entries.row % n, entries.row // n
    rows, cols = np.concatenate([i, j]), np.concatenate([j, i])
    pattern = Pattern.of((n, n), rows, cols)
    where = np.searchsorted(pattern.flat, cols.astype(np.int64) * n + rows)
    halves, columns = np.tile(entries.data / 2, 2), np.tile(entries.col, 2)
    folded = sp.csr_array((halves, (where, columns)), shape=(pattern.size, theta.columns))
    return pattern, _block(np.arange(pattern.size), *theta.split(folded))


def _rows(tensor: Any, order: np.ndarray, n: int, theta: _Theta) -> tuple[Pattern, Block, Block]:
    """A and b from the tensor of (A, b), rows i + m j, put into `order` and A's sign flipped."""
    m = len(order)
    old = np.abs(order).astype(np.int64) - 1
    new, sign = np.argsort(old), np.sign(order)[np.argsort(old)]
    entries = sp.coo_array(tensor)
    i, j = (entries.row % m, entries.row // m) if m else (entries.row, entries.row)
    values = entries.data * sign[i] * np.where(j < n, -1.0, 1.0)
    rows = new[i]
    pattern = Pattern.of((m, n), rows[j < n], j[j < n])
    where = np.where(
        j < n,
        np.searchsorted(pattern.flat, j.astype(np.int64) * m + rows),
        pattern.size + rows,
    )
    ordered = sp.csr_array((values, (where, entries.col)), shape=(pattern.size + m, theta.columns))
    base, matrix = theta.split(ordered)
    b = _block(np.arange(pattern.size, pattern.size + m), base, matrix)
    if not np.isfinite(b.base).all():
        raise InvalidProblem("a constraint has an infinite constant; leave the constraint out")
    return pattern, _block(np.arange(pattern.size), base, matrix), b


def _recovery(variable: cp.Variable, program: Any, chain: Any) -> sp.csr_array:
    """The matrix of x -> the user's variable, row by row."""
    final = chain.compose_var_id_map().get(variable.id, [variable.id])[0]
    start, size = program.var_id_to_col[final], program.id_to_var[final].size
    if any(variable.attributes[name] for name in _FOLDED):
        index = recover_value_for_leaf(variable, np.arange(1.0, size + 1), project=False)
    else:
        index = np.reshape(np.arange(1.0, size + 1), variable.shape, order="F")
    index = np.asarray(index.toarray() if sp.issparse(index) else index).ravel()
    rows = np.flatnonzero(index)
    where = (rows, start + index[rows].astype(int) - 1)
    return sp.csr_array((np.ones(len(rows)), where), shape=(variable.size, program.x.size))


def _dual_recovery(
    problem: cp.Problem,
    variables: Sequence[cp.Variable],
    primal: dict[int, Any],
    chain: Any,
    inverse: Any,
    n: int,
    m: int,
) -> dict[int, sp.csr_array]:
    """The matrix of y -> each dual variable asked for, by CVXPY's own inverse map.

    That map is linear. Each of its values is expected to be a multiple of one entry of y, which two
    probes find; a third checks it, and where it is not so every unit vector is a probe.
    """
    wanted = {v.id for v in variables} - primal.keys()
    owners = [
        (c, k, v) for c in problem.constraints for k, v in enumerate(c.dual_variables)
        if v.id in wanted
    ]  # fmt: skip
    if not owners:
        return {}
    zeros = int(inverse[-1][ConicSolver.DIMS].zero)

    def probe(y: np.ndarray) -> list[np.ndarray]:
        solution = {
            "status": cp.OPTIMAL,
            "value": 0.0,
            "primal": np.zeros(n),
            "eq_dual": y[:zeros],
            "ineq_dual": y[zeros:],
        }
        dual_vars = chain.invert(solution, inverse).dual_vars
        found = []
        for constraint, k, variable in owners:
            if constraint.id not in dual_vars:
                raise InvalidProblem(f"CVXPY reports no dual variable for {constraint}")
            private = copy.copy(constraint)  # CVXPY saves values in the constraint: not the user's
            private.dual_variables = [cp.Variable(v.shape) for v in constraint.dual_variables]
            private.save_dual_value(dual_vars[constraint.id])
            value = private.dual_variables[k].value
            if value is None:
                raise InvalidProblem(f"CVXPY reports no dual variable for {constraint}")
            if np.size(value) == variable.size:  # a scalar's is of shape (1,) at times
                value = np.reshape(value, variable.shape)
            found.append(np.broadcast_to(value, variable.shape).astype(float).ravel())
        return found

    check = np.random.default_rng(0).normal(size=m)
    ones, index, checked = probe(np.ones(m)), probe(np.arange(1.0, m + 1)), probe(check)
    matrices = {}
    for position, (_, _, variable) in enumerate(owners):
        weight = ones[position]
        rows = np.flatnonzero(weight)
        cols = np.clip(np.rint(index[position][rows] / weight[rows]).astype(int) - 1, 0, m - 1)
        matrix = sp.csr_array((weight[rows], (rows, cols)), shape=(variable.size, m))
        if not np.allclose(matrix @ check, checked[position], rtol=1e-12, atol=1e-12):
            matrix = sp.csr_array(np.stack([probe(row)[position] for row in np.eye(m)], axis=1))
        matrices[variable.id] = matrix
    return matrices
