"""Canonicalization: the maps give what CVXPY gives, and their adjoints are adjoint."""

from types import SimpleNamespace

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.canonical import _target, canonicalize, substitute
from cvxlpgd.canonical._program import _SIZES, _cones
from cvxlpgd.canonical.parameter_map import FIELDS
from cvxlpgd.cones.registry import KINDS
from cvxlpgd.errors import InvalidProblem
from cvxlpgd.layer import compile_layer
from cvxlpgd.program import ConeProgram, Data, Point
from cvxlpgd.solvers import CVXPY, SCS, Clarabel
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.solve import solve
from tests.zoo import ROWS, Row, assign, canonical, flattened, program, row_named, solved_by_cvxpy

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
CONTINUOUS = [row for row in ROWS if not row.build()[0].is_mixed_integer()]
NOT_FOR_SCS = ("quadratic_unconstrained", "chebyshev_regression")  # CVXPY refuses: no constraints
TIGHT = {"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iters": 100_000}


def same_solver(row: Row) -> tuple[Solver, str, dict[str, float]]:
    """A solver of ours, its name in CVXPY and its options there."""
    structure = canonical(row).structure
    if structure.mixed_integer:
        return CVXPY("HIGHS"), "HIGHS", {}
    if row.name in NOT_FOR_SCS:
        return Clarabel(), "CLARABEL", {}
    return SCS(**TIGHT), "SCS", TIGHT


def objective(row: Row, values: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The user's objective of canonical points."""
    c = canonical(row)
    data, offset = c.parameters.data(flattened(row, values))
    linear = c.sign * (ConeProgram(c.structure, data).objective(x) + offset)
    return np.exp(linear) if c.exponential else linear


@every_row
def test_variables_duals_and_objective_are_those_of_cvxpy(row: Row) -> None:
    c, values = canonical(row), row.inputs(2)
    solver, name, options = same_solver(row)
    solution = solve(solver, program(row, values))
    objectives = objective(row, values, solution.point.x)
    outputs = c.variables.values(solution.point)
    for i in range(len(outputs[0])):
        expected, variables = solved_by_cvxpy(row, [v[i] for v in values], name, **options)
        assert objectives[i] == pytest.approx(expected, rel=1e-7, abs=1e-7)
        for output, variable in zip(outputs, variables, strict=True):
            np.testing.assert_allclose(output[i], variable.ravel(), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY")
@pytest.mark.parametrize("row", CONTINUOUS, ids=lambda row: row.name)
def test_data_are_those_of_cvxpy(row: Row) -> None:
    c = canonical(row)
    values = row.inputs(1)
    problem, parameters, _ = row.build()
    for parameter, value in zip(parameters, values, strict=True):
        assign(parameter, value[0])
    name = cp.CLARABEL if row.name in NOT_FOR_SCS else cp.SCS
    theirs, _, _ = substitute(problem, parameters).get_problem_data(
        name, gp=row.gp, canon_backend=row.backend
    )
    ours, _ = c.parameters.data(flattened(row, values))
    np.testing.assert_allclose(ours.b[0], theirs["b"], atol=1e-12)
    np.testing.assert_allclose(ours.q[0], theirs["c"], atol=1e-12)
    A = c.structure.A.matrix(ours.A[0]).toarray()
    np.testing.assert_allclose(A, theirs["A"].toarray(), atol=1e-12)
    P = c.structure.P.matrix(ours.P[0]).toarray()
    np.testing.assert_allclose(P, theirs["P"].toarray() if "P" in theirs else 0 * P, atol=1e-12)


def _pairing(a: Data, b: Data) -> np.ndarray:
    return sum((getattr(a, name) * getattr(b, name)).sum(axis=1) for name in FIELDS)


def _covector(varying: Data, batch: int) -> Data:
    rng = np.random.default_rng(2)
    return Data(**{k: rng.normal(size=(batch, len(getattr(varying, k)))) for k in FIELDS})


@every_row
def test_parameter_map_is_adjoint_and_differentiates_the_data(row: Row) -> None:
    c, values = canonical(row), flattened(row, row.inputs(2))
    varying, rng = c.structure.varying, np.random.default_rng(1)
    tangents = [rng.normal(size=v.shape) for v in values]
    bar = _covector(varying, 2)
    dot = c.parameters.tangent(values, tangents)
    cotangents = c.parameters.cotangents(values, bar, varying, [True] * len(values))
    pairs = zip(tangents, cotangents, strict=True)
    theirs = sum(((t * g).sum(axis=1) for t, g in pairs if g is not None), np.zeros(2))
    np.testing.assert_allclose(_pairing(dot, bar), theirs, rtol=1e-12, atol=1e-12)

    step = 1e-6
    ends = [c.parameters.data([v + s * t for v, t in zip(values, tangents, strict=True)])[0]
            for s in (step, -step)]  # fmt: skip
    slope = (ends[0] - ends[1]) * (0.5 / step)
    for name in FIELDS:
        moved = getattr(slope, name)
        at = getattr(varying, name)
        np.testing.assert_allclose(
            moved[:, at], np.broadcast_to(getattr(dot, name), (len(moved), len(at))), atol=1e-7
        )
        fixed = np.delete(moved, at, axis=1)
        np.testing.assert_array_equal(fixed, np.zeros_like(fixed))


@every_row
def test_needing_fewer_parameters_gives_the_same_cotangents(row: Row) -> None:
    c, values = canonical(row), flattened(row, row.inputs(2))
    varying = c.structure.varying
    bar = _covector(varying, 2)
    every = c.parameters.cotangents(values, bar, varying, [True] * len(values))
    for i in range(len(values)):
        needed = [k == i for k in range(len(values))]
        entries = c.parameters.entries(needed)
        where = {k: np.searchsorted(getattr(varying, k), getattr(entries, k)) for k in FIELDS}
        restricted = Data(**{k: getattr(bar, k)[:, where[k]] for k in FIELDS})
        some = c.parameters.cotangents(values, restricted, entries, needed)
        assert all(g is None for k, g in enumerate(some) if k != i)
        assert (some[i] is None) == (every[i] is None)
        if every[i] is not None:
            np.testing.assert_allclose(some[i], every[i], rtol=1e-12, atol=1e-12)


@every_row
def test_variable_map_is_adjoint(row: Row) -> None:
    c, rng = canonical(row), np.random.default_rng(3)
    n, m = c.structure.n, c.structure.m
    z, dot = (
        Point(rng.normal(size=(2, n)), rng.normal(size=(2, m)), rng.normal(size=(2, m)))
        for _ in range(2)
    )
    values = c.variables.values(z)
    bars = [rng.normal(size=v.shape) for v in values]
    tangents = c.variables.tangents(values, dot)
    ours = sum((t * b).sum(axis=1) for t, b in zip(tangents, bars, strict=True))
    back = c.variables.cotangent(values, bars, z)
    theirs = sum((getattr(dot, k) * getattr(back, k)).sum(axis=1) for k in ("x", "y", "s"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@every_row
def test_a_shared_parameter_makes_shared_data(row: Row) -> None:
    c, values = canonical(row), flattened(row, row.inputs(3))
    shared, offset = c.parameters.data([v[:1] for v in values])
    assert all(len(getattr(shared, name)) == 1 for name in FIELDS)
    assert len(offset) == 1
    if values:
        mixed, _ = c.parameters.data([values[0], *(v[:1] for v in values[1:])])
        alone = c.parameters.entries([i == 0 for i in range(len(values))])
        for name in FIELDS:
            assert len(getattr(mixed, name)) == (3 if len(getattr(alone, name)) else 1)


@every_row
def test_canonicalizing_leaves_the_problem_as_it_was(row: Row) -> None:
    problem, parameters, variables = row.build()
    canonicalize(substitute(problem, parameters), parameters, variables, row.gp, row.backend)
    assert all(p.value_sparse is None for p in parameters if p.sparse_idx is not None)
    assert all(p.value is None for p in parameters if p.sparse_idx is None)
    assert all(d.value is None for c in problem.constraints for d in c.dual_variables)
    assert problem.value is None


def test_a_problem_that_cvxpy_cannot_compile_is_refused() -> None:
    x, p = cp.Variable(2), cp.Parameter(2)
    concave = cp.Problem(cp.Minimize(-cp.sum_squares(x) + p @ x))
    with pytest.raises(InvalidProblem, match="DCP"):
        canonicalize(concave, [p], [x])


def test_weights_of_the_proximal_term() -> None:
    symmetric = canonical(row_named("symmetric_variable")).structure.user
    assert sorted(symmetric[symmetric > 0]) == [1, 1, 1, 2, 2, 2]
    lasso = canonical(row_named("lasso")).structure
    assert lasso.user.sum() == 4
    assert lasso.n > 4


def test_dual_variables_are_there_beside_parameters_that_are_not_listed():
    x, c, q = cp.Variable(3), cp.Parameter(3), cp.Parameter(3, value=[0.1, 0.2, -0.1])
    moved = x - q
    constraints = [
        moved <= 2,
        cp.sum(moved) == 0.5,
        cp.SOC(cp.Constant(1.0), moved),
        cp.diag(moved) + np.eye(3) >> 0,
        cp.ExpCone(moved[0], cp.Constant(1.0), 1.5 + moved[1]),
        cp.norm(moved, 1) <= 1,
    ]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), constraints)
    duals = [dual for constraint in constraints for dual in constraint.dual_variables]
    values = [np.array([1.0, 2.0, -1.0]), q.value]
    few, all_of_them = (
        compile_layer(problem, [c], [x, *duals]),
        compile_layer(problem, [c, q], [x, *duals]),
    )
    found, wanted = few.forward(values[:1]).outputs, all_of_them.forward(values).outputs
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-7)
    assert all(dual.value is None for dual in duals)


def test_what_cvxpy_calls_a_cone_is_read_by_its_name_and_nothing_is_left_over() -> None:
    names = {kind.constraint for kind in KINDS} - {None}
    assert names == _SIZES.keys()
    assert all(hasattr(cp.constraints, name) for name in names)
    dims = SimpleNamespace(zero=1, nonneg=2, soc=[3], psd=[2], exp=1, p3d=[0.5], future=[7])
    assert sum(cone.rows for cone in _cones(dims, 15)) == 15
    with pytest.raises(InvalidProblem, match="does not know"):
        _cones(dims, 22)


@pytest.mark.parametrize("name", sorted(_target._UNUSED | {"something_new"}))
def test_cones_that_cvxpy_moved_elsewhere_are_refused(name):
    """What CVXPY may hand over beside the rows is read, empty, or an error: never dropped."""
    kept = dict.fromkeys(_target._UNDERSTOOD)
    kept["cone_dims"] = SimpleNamespace(pnd=[])
    kept["x"] = SimpleNamespace(boolean_idx=[])
    _target.check_understood(SimpleNamespace(**kept))
    with pytest.raises(InvalidProblem, match=name):
        _target.check_understood(SimpleNamespace(**kept, **{name: [np.zeros(3)]}))
