"""time_limit, in seconds for each sample: every solver's own option of that name, or a refusal."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from campaigns.faults import Faulty, layer_of, values_of
from cvxlpgd.cones import NonNeg
from cvxlpgd.errors import FailedSampleWarning, InvalidOption
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Status
from cvxlpgd.solvers import CVXPY, DAQP, SCS, Clarabel
from cvxlpgd.solvers.choose.choice import choose_solver
from cvxlpgd.solvers.protocol import Solver, is_installed, missing_cones
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.solve import solve
from tests.helpers.programs import dense
from tests.solvers.test_reuse import linear, quadratic

NO_LIMIT = {"PIQP", "ECOS"}
INSTALLED = {name: row.adapter() for name, row in SOLVERS.items() if is_installed(row.adapter())}
HAVE: tuple[Solver, ...] = tuple(s for name, s in INSTALLED.items() if name not in NO_LIMIT)
HAVE += tuple(CVXPY(name) for name in ("CLARABEL", "SCS", "OSQP", "HIGHS", "SCIPY"))
HAVE_NOT = (*(SOLVERS[name].adapter() for name in sorted(NO_LIMIT)),
            CVXPY("PIQP"), CVXPY("ECOS"), CVXPY("DAQP"))  # fmt: skip


def named(solver: Solver) -> str:
    return f"{type(solver).__name__}-{solver.name}"


def crowded() -> ConeProgram:
    """A quadratic program of which an active-set method takes hundreds of steps."""
    rng, n = np.random.default_rng(0), 60
    root, rows = rng.standard_normal((n, n)), rng.standard_normal((3 * n, n))
    A, b = np.concatenate([rows, -rows])[None], np.full((2, 6 * n), 0.1)
    P = (root @ root.T / n + 0.1 * np.eye(n))[None]
    return dense(10 * rng.standard_normal((2, n)), A, b, (NonNeg(6 * n),), P)


def program_for(solver: Solver) -> ConeProgram:
    if solver.name == "DAQP":  # it looks at the clock every 32 iterations
        return crowded()
    found = quadratic(2)
    return linear(2) if missing_cones(solver, found.structure) or solver.name == "HIGHS" else found


@pytest.mark.parametrize("solver", HAVE, ids=named)
def test_a_limit_reaches_the_solver(solver):
    """One that no solver can keep leaves no sample solved; a generous one changes nothing."""
    program = program_for(solver)
    free = solve(solver, program)
    assert (free.status == Status.SOLVED).all()
    short = solve(solver.with_options({"time_limit": 1e-9}), program)
    assert np.isin(short.status, (Status.FAILED, Status.INACCURATE)).all(), short.messages
    generous = solve(solver.with_options({"time_limit": 60.0}), program)
    assert np.array_equal(generous.point.x, free.point.x)


@pytest.mark.parametrize("solver", HAVE_NOT, ids=named)
def test_a_solver_without_a_limit_is_named(solver):
    with pytest.raises(InvalidOption, match=f"{solver.name} has no time limit"):
        solver.with_options({"time_limit": 1.0})


def test_only_solvers_with_a_limit_are_chosen():
    structure = quadratic(1).structure
    assert "PIQP" in [s.name for s in choose_solver(None, structure, {}).solvers]
    limited = choose_solver(None, structure, {"time_limit": 1.0}).solvers
    assert [s.name for s in limited] == ["DAQP", "CLARABEL", "SCS"]


def test_the_fallback_is_limited_too():
    layer = layer_of(DAQP(), fallback="SCS", time_limit=2.5)
    assert [dict(s.options) for s in layer._layer.solver.solvers] == [
        {"time_limit": 2.5}, {"time_limit_secs": 2.5},
    ]  # fmt: skip
    with pytest.raises(InvalidOption, match="ECOS has no time limit"):
        layer_of(DAQP(), fallback="ECOS", time_limit=2.5)
    assert layer_of(Faulty(DAQP()), time_limit=2.5)._layer.solver.limit == 2.5


def test_what_runs_out_of_time_is_a_failed_sample():
    c, x = cp.Parameter(40), cp.Variable(40)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c) + cp.norm1(x)), [cp.norm(x) <= 1])
    layer = CvxpyLayer(problem, [c], [x], "CLARABEL", time_limit=1e-9, on_failure="nan")
    with pytest.warns(FailedSampleWarning, match=r"MaxTime.*try another solver"):
        (found,) = layer(np.ones((2, 40)))
    assert np.isnan(found).all()


@pytest.mark.parametrize("fault", ["raises", "NaN", "too short", "wrong point", "wrong dual"])
def test_the_fallback_helps_forward_and_backward(fault):
    """Where the solver fails or lies, and nowhere else: the others' numbers do not change."""
    keys = [3.0, 4.0, 5.0]
    for when in ("forward", "backward"):
        solver = Faulty(DAQP(), ((4.0, fault, when),))
        layer = layer_of(solver, fallback="CLARABEL")
        (x,), pullback = layer.vjp(*values_of(keys))
        grads = pullback(np.eye(3))
        assert layer.info.status.tolist() == ["solved"] * 3
        assert layer.info.differentiated.all()
        assert layer.info.solver == ("FAULTY, CLARABEL" if when == "forward" else "FAULTY")
        (honest,), back = layer_of(Faulty(DAQP())).vjp(*values_of(keys))
        expected = back(np.eye(3))
        for found, wanted in zip([x, *grads], [honest, *expected], strict=True):
            assert np.array_equal(found[[0, 2]], wanted[[0, 2]])
            np.testing.assert_allclose(found[1], wanted[1], atol=1e-6)


def test_the_fallback_has_the_last_word_only_where_it_does_better():
    values = values_of([3.0, 4.0])
    weak = SCS(max_iters=2)
    both = layer_of(weak, fallback=Clarabel(max_iter=1), on_failure="nan")
    alone = layer_of(weak)
    with pytest.warns(UserWarning, match="short of the accuracy"):
        found, expected = both(*values), alone(*values)
    assert np.array_equal(found[0], expected[0])
    assert both.info.status.tolist() == ["inaccurate"] * 2
    # "infeasible" without a certificate is no answer: the fallback is asked
    asked = layer_of(
        Faulty(DAQP(), ((3.0, "wrong status", "forward"),)), fallback="SCS", on_failure="nan"
    )
    asked(*values)
    assert asked.info.status.tolist() == ["solved"] * 2
