"""Verdicts in words: what they say on problems of which one knows what is right."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, Exact, Implicit, compare
from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.score import Score
from cvxlpgd.analysis.verdict import verdict
from cvxlpgd.errors import FailedSampleWarning

COSTS = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]])
TAUS = [1e-3, 10.0]


def program(quadratic: bool, **options):
    x, cost, amount = cp.Variable(4), cp.Parameter(4, name="cost"), cp.Parameter(name="amount")
    objective = cost @ x + (4 * cp.sum_squares(x) if quadratic else 0)
    problem = cp.Problem(cp.Minimize(objective), [cp.sum(x) == amount, x >= 0, x <= 0.6])
    values = [COSTS, np.array(1.0)]
    return compare(problem, [cost, amount], [x], values, **({"taus": TAUS} | options))


def test_a_smooth_program_has_one_exact_derivative():
    report = program(quadratic=True)
    first, use, tau = report.verdict.splitlines()
    assert first.startswith('Implicit("lsqr"), Exact() and LPGD() agree with each other within')
    assert "and with central differences within" in first
    assert "limit tau -> 0, which is the exact derivative" in use
    assert tau.startswith("A finite tau agrees with the exact derivative within 1 % at 1e-3")
    assert "A larger one looks further." in tau
    assert report.facts.problem == "quadratic program"
    assert report.facts.zero == ()


def test_a_linear_programs_costs_have_no_errors():
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    report = compare(problem, [cost], [x], [COSTS], taus=TAUS)
    zero, use, beyond = report.verdict.splitlines()
    assert zero.startswith("The exact gradient of cost is 0: the solution of a linear program is a")
    assert "central differences are 0 too" in zero
    assert use.startswith("Use LPGD(), the default: it moves cost by its own size, tau = ")
    assert "of cost is nonzero from tau = 10 on" in beyond
    for row in report.rows:
        assert np.isnan([row.error_reference, row.cosine_reference, row.error_fd]).all()
    assert [row.size_beyond > 0 for row in report.rows] == [False, False, True] + [False, True] * 3
    assert all(row["error_reference"] is None for row in report.to_dict()["rows"])
    assert np.isnan(report.noise)


@pytest.mark.parametrize("solver", [None, "HIGHS", "CLARABEL"])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_a_loss_of_entries_that_are_0_has_no_errors(solver, spread):
    """More of what is dearest: the loss' own terms are rounding. Samples' units may differ."""
    rng = np.random.default_rng(0)
    x, cost = cp.Variable(6), cp.Parameter(6, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    costs = rng.uniform(1, 5, (8, 6)) * 10.0 ** rng.uniform(-spread, spread, (8, 1))
    dearest = -np.eye(6)[costs.argmax(axis=1)]
    rows = [LPGD(), Exact(), Implicit()]
    report = compare(problem, [cost], [x], [costs], rows, cotangents=[dearest], solver=solver)
    lpgd, exact, implicit = report.rows
    assert np.isnan([[row.error_reference, row.error_fd] for row in report.rows]).all()
    assert (exact.zeros, implicit.zeros) == (1.0, 1.0)
    assert (exact.clear_size, implicit.clear_size) == (0.0, 0.0)
    assert lpgd.size_beyond > 0
    assert lpgd.zeros < 1
    assert [axis.get_ylabel() for axis in report.plot().axes] == ["size of the gradient of cost"]
    assert report.verdict.startswith("The exact gradient of cost is 0: the solution of a linear")
    assert "central differences are 0 too" in report.verdict


def test_a_solution_of_0_with_a_gradient_is_not_zero():
    x, wish = cp.Variable(), cp.Parameter(name="wish")
    problem = cp.Problem(cp.Minimize(cp.square(x - wish)), [x <= 5])
    report = compare(problem, [wish], [x], [0.0], [LPGD(), Exact()])
    assert "1 sample, 1 parameter entry, solved by" in report.title
    assert report.facts.zero == ()
    assert report.rows[0].error_fd < 1e-6


def test_a_solution_of_0_without_a_gradient_is_zero():
    """What Implicit() returns is rounding, as is a solution by a solver that stops nearby."""
    x, wish = cp.Variable(3), cp.Parameter(3, name="wish")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [x >= 0])
    options = {"solver": "SCS", "loss": lambda x: x.sum()}
    report = compare(problem, [wish], [x], [np.array([-1.0, -2, -3])], [Implicit()], **options)
    assert report.facts.zero == ("wish",)
    assert (report.rows[0].clear_size, report.rows[0].zeros) == (0.0, 1.0)


def test_each_parameter_of_a_linear_program_is_judged_by_itself():
    report = program(quadratic=False)
    assert report.facts.zero == ("cost",)
    implicit, exact, automatic, *_ = report.rows
    assert implicit.error_fd < 1e-6
    assert exact.error_reference < 1e-6
    assert automatic.error_reference < 1e-6  # of the amount alone, though that of costs is not 0
    assert automatic.size_beyond > 0
    assert "leave cost out" in report.verdict
    assert "The other gradients are exact" in report.verdict


def test_a_kink_is_named():
    x, wish = cp.Variable(4), cp.Parameter(4, name="wish")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [x >= 0])
    report = compare(problem, [wish], [x], [np.array([[1.0, 0, 2, -1], COSTS[0]])], taus=TAUS)
    assert report.facts.kinks == 1
    assert "1 sample is at a kink" in report.verdict
    assert "Exact() and LPGD() agree with central differences" in report.verdict
    assert 'Implicit("lsqr") picks one gradient of the kink' in report.verdict
    assert "go by the fd errors" in report.verdict


@pytest.mark.parametrize("kink", [True, False])
def test_a_reference_that_is_off_is_named_where_it_has_no_row(kink):
    x, wish = cp.Variable(4), cp.Parameter(4, name="wish")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [x >= 0])
    values, rows = [np.array([1.0, 0 if kink else 0.5, 2, -1])], [LPGD(), Exact()]
    report = compare(problem, [wish], [x], values, rows)
    line = 'The reference, Implicit("lsqr"), picks one gradient of the kink'
    assert (line in report.verdict) == kink
    assert ("go by the fd errors" in report.verdict) == kink
    if kink:
        assert report.plot().axes[0].get_ylabel().endswith("against central differences")


def test_a_saturated_program_is_no_vertex():
    x, wish = cp.Variable(2), cp.Parameter(2, name="wish")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [x >= 0, x <= 1])
    report = compare(problem, [wish], [x], [np.array([2.0, -3.0])], taus=[1e-3, 100.0])
    assert "at these values the loss does not change with wish" in report.verdict
    assert 'LPGD(tau="informative") looks further' in report.verdict
    assert "vertex" not in report.verdict


def test_a_power_cone_has_finite_differences_for_a_reference():
    x, price = cp.Variable(2), cp.Parameter(2, pos=True, name="price")
    cone = cp.PowCone3D(x[0], x[1], cp.Constant(1.0), 0.3)
    problem = cp.Problem(cp.Minimize(price @ x), [cone])
    report = compare(problem, [price], [x], [np.array([1.0, 2.0])], taus=[1e-3])
    first, second, *_ = report.verdict.splitlines()
    assert first.startswith("The reference is finite differences, because Implicit() cannot")
    assert second.startswith("FiniteDifference(), Exact() and LPGD() agree")
    assert first.endswith("(diffcp's derivative there is wrong).")
    assert report.facts.problem == "cone program (power cones)"


def test_a_wrong_reference_is_named():
    """diffcp loses the small entries of exponential cones."""
    x, logit = cp.Variable(5), cp.Parameter(5, name="logit")
    problem = cp.Problem(cp.Minimize(-logit @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1])
    values, bars = [np.array([0.0, -5, -12, -20, -25])], [np.eye(5)[4]]
    report = compare(problem, [logit], [x], values, cotangents=bars, taus=[1e-2])
    right, wrong, *_ = report.verdict.splitlines()
    assert right.startswith("Exact() and LPGD() agree with central differences within")
    assert wrong.startswith('Implicit("lsqr") is wrong here: it is off by')
    assert "It is the reference, so go by the fd errors" in wrong
    assert "A finite tau agrees with the exact derivative within 1 % at 1e-2" in report.verdict


def test_exponential_cones_agree():
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x - cp.sum(cp.log(x))), [cp.sum(x) == 1])
    report = compare(problem, [cost], [x], [COSTS], taus=[1e-3])
    assert report.verdict.startswith('Implicit("lsqr"), Exact() and LPGD() agree with each other')


def test_an_integer_solution_jumps():
    take, value = cp.Variable(4, boolean=True), cp.Parameter(4, name="value")
    problem = cp.Problem(cp.Maximize(value @ take), [np.array([3.0, 2, 2, 1]) @ take <= 5])
    report = compare(problem, [value], [take], [np.array([4.0, 3, 2, 1])], taus=TAUS)
    assert "an integer solution does not move with value, it jumps" in report.verdict
    assert "Use LPGD(), the default" in report.verdict
    assert report.solver == "HIGHS"
    assert report.facts.substitute.endswith("of an integer program is zero or undefined")


def test_failed_samples_are_named():
    low, x = cp.Parameter(name="low"), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= 2])
    with pytest.warns(FailedSampleWarning):
        report = compare(problem, [low], [x], [np.array([[1.0, 3.0]])], taus=[1e-3])
    first, *_ = report.verdict.splitlines()
    assert first.startswith("1 sample is left out, without a solution (sample 0, 1: infeasible)")


def test_a_sample_without_numbers_does_not_disturb_the_others():
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x + 4 * cp.sum_squares(x)), [cp.sum(x) == 1, x >= 0])
    values = [np.vstack([COSTS, np.full(4, np.nan)])]
    with pytest.warns(FailedSampleWarning):
        report = compare(problem, [cost], [x], values, taus=[1e-3])
    first, second, *_ = report.verdict.splitlines()
    assert "(sample 2: " in first
    assert "NaN" in first
    assert "and with central differences within" in second
    assert report.facts.directions > 0


def test_perturbed_programs_without_a_solution_are_named():
    x, c = cp.Variable(2), cp.Parameter(2, name="c")
    problem, down = cp.Problem(cp.Minimize(c @ x), [x >= 0]), -np.ones((3, 2))
    settings = [LPGD(tau=10.0, side="lower"), LPGD(tau=10.0, side="upper")]
    report = compare(problem, [c], [x], [-1e-3 * down], derivatives=settings, cotangents=[down])
    line = report.verdict.splitlines()[-1]
    assert line.startswith('LPGD(tau=10, side="lower") finds no gradient for up to 3 samples')


def test_several_solutions_have_no_unique_gradient():
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    report = compare(problem, [cost], [x], [np.array([1.0, 2, 2, 3])], taus=TAUS)
    assert "1 sample has no unique gradient" in report.verdict
    assert all(not row.error_reference < np.inf for row in report.rows)


def test_what_lpgd_adds_to_an_exact_derivative_is_no_error():
    """A loss of a linear program's solution and of its prices: the costs move the latter."""
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cost @ x), [total, x >= 0, x <= 0.6])
    outputs = [x, total.dual_variables[0]]
    report = compare(problem, [cost], outputs, [COSTS[0]], taus=[1e-2])
    first, use, *_ = report.verdict.splitlines()
    assert first.startswith('Implicit("lsqr") and Exact() agree with each other within')
    assert use.startswith("LPGD(), the default, adds a difference to the exact derivative, with")
    assert "wrong" not in report.verdict


def test_a_gradient_that_cancels_is_zero_for_central_differences_too():
    """An eigenvalue does not move with its eigenvector: v'Mv for the projection vv' of M."""
    S, X = cp.Parameter((3, 3), symmetric=True, name="S"), cp.Variable((3, 3), PSD=True)
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    matrix = matrix + matrix.T
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S)), [cp.trace(X) == 1])
    report = compare(problem, [S], [X], [matrix], cotangents=[matrix], taus=[1e-3])
    first, *_ = report.verdict.splitlines()
    assert first.startswith(
        "The exact gradient of S is 0: at these values the loss does not change"
    )
    assert "central differences are 0 too" in first


def test_a_reference_that_is_a_difference_is_named():
    report = program(quadratic=False, reference=LPGD(tau=5.0), derivatives=[Exact(), LPGD()])
    assert "The reference, LPGD(tau=5), is a difference itself" in report.verdict


def test_a_reference_that_is_a_difference_is_no_noise_in_small_units():
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    report = compare(problem, [cost], [x], [1e7 * COSTS], [LPGD()], reference=LPGD())
    assert report.facts.zero == ()


def test_who_solved_is_named():
    report = program(quadratic=True, derivatives=[Exact()], solver="CLARABEL")
    assert report.solver == "CLARABEL"
    x, cost = cp.Variable(4), cp.Parameter(4, name="cost")
    half = cp.Problem(cp.Minimize(cost @ x + cp.square(x[0])), [cp.sum(x) == 1, x >= 0])
    report = compare(half, [cost], [x], [COSTS], derivatives=[Exact()])
    assert report.solver == "PIQP"  # DAQP, the first of the rule, does not take it


FACTS = Facts(
    problem="quadratic program", parameters=("a",), zero=(), exactly=True, failed=(), inaccurate=0,
    kinks=0, irregular=0, directions=8, still=False, substitute="", is_difference=False,
)  # fmt: skip
ROW = Score(
    derivative="Exact()", tau=None, automatic=False, side=None, error_reference=0.0,
    cosine_reference=1.0, error_fd=1e-8, cosine_fd=1.0, seconds=0.1, size=1.0, zeros=0.0, failed=0,
    title="Exact()", method="path", size_beyond=0.0,
)  # fmt: skip
OTHER = replace(ROW, title="Implicit()", error_reference=0.5)


@pytest.mark.parametrize(
    ("rows", "facts", "expected"),
    [
        ([ROW], {}, "Exact() agrees with central differences within 1e-8."),
        ([ROW, replace(OTHER, error_fd=0.8)], {},
         "Exact() agrees with central differences within 1e-8.\n"
         "Implicit() is wrong here: it is off by 80 %."),
        ([replace(ROW, error_fd=np.nan), replace(OTHER, error_fd=np.nan)], {"directions": 0},
         "Exact() and Implicit() differ by up to 50 %; central differences have no verdict."),
        ([replace(ROW, error_fd=np.nan)], {"directions": 0},
         "Central differences have no verdict on Exact()."),
        ([replace(ROW, error_fd=0.3)], {}, "Exact() differs from central differences by 30 % and "
         "more."),
        ([ROW], {"zero": ("a",), "still": False},
         "The exact gradient of a is 0: at these values the loss does not change with a. But "
         "central differences are not 0, so that is wrong. Errors relative to 0 mean nothing and "
         "are shown as -."),
        ([ROW], {"zero": ("a",), "still": True, "directions": 0},
         "The exact gradient of a is 0: at these values the loss does not change with a. Errors "
         "relative to 0 mean nothing and are shown as -."),
        ([ROW], {"inaccurate": 2},
         "2 samples with an inaccurate solution: ask for a smaller eps, or another solver.\n"
         "Exact() agrees with central differences within 1e-8."),
    ],
)  # fmt: skip
def test_sentences(rows, facts, expected):
    assert verdict(rows, replace(FACTS, **facts), "Exact()", 0.0) == expected


@pytest.mark.parametrize(("noise", "said"), [(5e-17, False), (5e-6, True), (5e-5, True)])
def test_noise_is_named_where_it_is_near_the_taus_compared(noise, said):
    finite = replace(ROW, title="LPGD(tau=1e-3)", tau=1e-3, side="average")
    words = verdict([ROW, finite], FACTS, "Exact()", noise)
    assert ("it is the solver's noise" in words) == said


def test_a_reference_of_ones_own_is_believed_only_where_differences_agree():
    report = program(quadratic=True, reference=Implicit("dense"), derivatives=[Exact()])
    assert report.verdict.startswith("Exact() agrees with central differences")
