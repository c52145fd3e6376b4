"""The parametrized cone program as structure and affine maps; here A's sign is flipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.cvx_attr2constr import CvxAttr2Constr
from cvxpy.reductions.dgp2dcp.dgp2dcp import Dgp2Dcp

from cvxlpgd.canonical._recovery import dual_recovery, primal_recovery
from cvxlpgd.canonical._target import check_understood, compile_problem
from cvxlpgd.canonical.entries import folded_entries, pattern_of
from cvxlpgd.canonical.parameter_map import Block, ParameterMap
from cvxlpgd.canonical.variable_map import Output, VariableMap
from cvxlpgd.cones import Cone
from cvxlpgd.cones.registry import KINDS
from cvxlpgd.errors import CvxlpgdError, InvalidProblem
from cvxlpgd.program import Data, Pattern, Structure


@dataclass(frozen=True, eq=False)
class Canonical:
    """A canonicalized problem."""

    structure: Structure
    parameters: ParameterMap  # listed parameters, flattened row by row, to data
    variables: VariableMap  # points to the returned variables
    everything: VariableMap  # points to all of the problem's variables
    sign: float  # -1 where the user maximizes
    exponential: bool  # whether the objective is the exponential of the canonical one (gp=True)


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
                if leaf.id in folds:
                    whole, leaf = folds[leaf.id]
                    places = folded_entries(whole)
                else:
                    places = np.ravel(np.arange(leaf.size).reshape(leaf.shape), order="F")
                if log or leaf.id in program.param_id_to_col or not logs:
                    pattern = pattern_of(parameter)
                    column = program.param_id_to_col.get(leaf.id)
                    sources.append((i, log))
                    picks.append((column, places, pattern, starts[-1]))
                    count = parameter.size if pattern is None else len(pattern)
                    starts.append(starts[-1] + count)
                    known.add(leaf.id)
        for leaf in program.parameters:
            if leaf.id not in known:  # a frozen parameter in a variable's bounds
                start = program.param_id_to_col[leaf.id]
                self.frozen[start : start + leaf.size] = np.ravel(leaf.value, order="F")
        self.sources, self.starts = tuple(sources), tuple(starts)
        rows, cols = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
        for column, places, pattern, start in picks:
            if column is not None:
                inside = slice(None) if pattern is None else np.isin(places, pattern)
                own = places if pattern is None else np.searchsorted(pattern, places[inside])
                rows.append(column + np.arange(len(places))[inside])
                cols.append(start + own)
        where = (np.concatenate(rows), np.concatenate(cols))
        self.picks = sp.csr_array((np.ones(len(where[0])), where), shape=(self.columns, starts[-1]))

    def split(self, tensor: Any) -> tuple[np.ndarray, sp.csr_array]:
        """(constant part, map of theta) of a map of CVXPY's parameter vector."""
        tensor = sp.csr_array(tensor)
        return tensor @ self.frozen, sp.csr_array(tensor @ self.picks)


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
        DPP; with `gp`, DPP in the sense of geometric programs.
    parameters, variables
        Inputs and outputs of the layer; a variable may be a constraint's dual variable.

    Raises
    ------
    InvalidProblem
        Where CVXPY cannot compile it, or hands over something unknown.
    """
    data, chain, inverse = _compile(problem, gp, canon_backend)
    program, order = data["program"], data["order"]
    check_understood(program)
    theta = _Theta(program, chain, parameters)
    n, m = program.x.size, len(order)

    P, P_block = _quadratic(program.P, n, theta)
    A, A_block, b_block = _rows(program.A, order, n, theta)
    q = sp.csr_array(program.q)
    q_block, offset = _block(q[:n], theta), _block(q[n:], theta)
    blocks = {"P": P_block, "q": q_block, "A": A_block, "b": b_block, "offset": offset}
    primal = {v.id: primal_recovery(v, program, chain) for v in problem.variables()}
    structure = Structure(
        P=P,
        A=A,
        cones=_cones(program.cone_dims, m),
        integer=np.array([i for (i,) in program.x.integer_idx], dtype=np.int64),
        boolean=np.array([i for (i,) in program.x.boolean_idx], dtype=np.int64),
        varying=Data(**{name: blocks[name].varying for name in ("P", "q", "A", "b")}),
        user=np.asarray(sum((abs(r).sum(axis=0) for r in primal.values()), np.zeros(n))).ravel(),
    )
    duals = dual_recovery(problem, variables, primal, chain, inverse, n, m)
    if duals and structure.mixed_integer:
        raise InvalidProblem("an integer program has no dual variables to return")
    recovered = primal | duals

    def outputs(wanted: Sequence[cp.Variable]) -> VariableMap:
        return VariableMap(tuple(
            Output(
                v.name(), v.shape, "y" if v.id in duals else "x", gp and v.id in primal,
                recovered[v.id],
            )
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


# CVXPY's constraint -> what each of its cones is made of, as CVXPY's ConeDims counts them.
_SIZES: dict[str, Callable[[Any], list[tuple[Any, ...]]]] = {
    "Zero": lambda dims: [(dims.zero,)] if dims.zero else [],
    "NonNeg": lambda dims: [(dims.nonneg,)] if dims.nonneg else [],
    "SOC": lambda dims: [(rows,) for rows in dims.soc],
    "PSD": lambda dims: [(order,) for order in dims.psd],
    "ExpCone": lambda dims: [()] * dims.exp,
    "PowCone3D": lambda dims: [(float(alpha),) for alpha in dims.p3d],
}


def _cones(dims: Any, m: int) -> tuple[Cone, ...]:
    """The cones of m rows, in the registry's order, which is CVXPY's."""
    cones = tuple(
        kind.cone(*size)
        for kind in KINDS if kind.constraint is not None
        for size in _SIZES[kind.constraint](dims)
    )  # fmt: skip
    if sum(cone.rows for cone in cones) != m:
        raise InvalidProblem(f"CVXPY hands over cones that cvxlpgd does not know: {dims}")
    return cones


def _compile(problem: cp.Problem, gp: bool, backend: str | None) -> tuple[Any, Any, Any]:
    """CVXPY's data, its chain, and what inverts it; InvalidProblem where it cannot compile it."""
    try:
        return compile_problem(problem, gp=gp, enforce_dpp=True, canon_backend=backend)
    except CvxlpgdError:
        raise
    except Exception as e:  # whatever CVXPY cannot do: it has many errors, some without a text
        by = f" with canon_backend={backend!r}" if backend is not None else ""
        text = f"CVXPY cannot compile the problem{by}: {str(e) or type(e).__name__}"
        raise InvalidProblem(text) from e


def _block(tensor: Any, theta: _Theta) -> Block:
    """The block of a field that is a map of CVXPY's parameter vector."""
    base, matrix = theta.split(tensor)
    matrix.eliminate_zeros()
    varying = np.flatnonzero(np.diff(matrix.indptr))
    return Block(base[None], varying, matrix if len(varying) == len(base) else matrix[varying])


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
    return pattern, _block(folded, theta)


def _rows(tensor: Any, order: np.ndarray, n: int, theta: _Theta) -> tuple[Pattern, Block, Block]:
    """A and b from the tensor of (A, b), rows i + m j, put into `order` and A's sign flipped."""
    pattern, A, b = _ordered(tensor, order, n)
    b_block = _block(b, theta)
    if not np.isfinite(b_block.base).all():
        raise InvalidProblem("a constraint has an infinite constant; leave the constraint out")
    return pattern, _block(A, theta), b_block


def _ordered(tensor: Any, order: np.ndarray, n: int) -> tuple[Pattern, sp.csr_array, sp.csr_array]:
    """The pattern of A, and the tensors of its entries and of b."""
    m = len(order)
    old = np.abs(order).astype(np.int64) - 1
    new, sign = np.argsort(old), np.sign(order)[np.argsort(old)]
    entries = sp.coo_array(tensor)
    column, old_row = np.divmod(entries.row.astype(np.int64), max(m, 1))
    row, values = new[old_row], entries.data * sign[old_row]
    inside = column < n
    pattern = Pattern.of((m, n), row[inside], column[inside])
    A_row = np.searchsorted(pattern.flat, (column * m + row)[inside])
    A = (-values[inside], (A_row, entries.col[inside]))
    b = (values[~inside], (row[~inside], entries.col[~inside]))
    shapes = (pattern.size, tensor.shape[1]), (m, tensor.shape[1])
    return pattern, sp.csr_array(A, shape=shapes[0]), sp.csr_array(b, shape=shapes[1])
