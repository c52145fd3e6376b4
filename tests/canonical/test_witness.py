"""A constraint or an objective that canonicalization loses is an error at the first call."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.canonical.witness import Witness
from cvxlpgd.errors import CvxlpgdError, InaccurateSolutionWarning
from cvxlpgd.layer import compile_layer
from cvxlpgd.solvers import SCS
from tests.zoo.row import MISCOMPILED

x, b = cp.Variable(3, nonneg=True), cp.Parameter(3)
LOOSE = cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [cp.sum(x) <= 10])
LOST = {
    "a constraint": cp.Problem(LOOSE.objective, [*LOOSE.constraints, cp.norm(x) <= 1]),
    "a cone": cp.Problem(LOOSE.objective, [*LOOSE.constraints, cp.diag(x) << 0.5 * np.eye(3)]),
    "an equality": cp.Problem(LOOSE.objective, [*LOOSE.constraints, x[0] == x[1]]),
    "part of the objective": cp.Problem(
        LOOSE.objective + cp.Minimize(cp.sum(x)), LOOSE.constraints
    ),
}
VALUE = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_is_noticed(lost):
    """The layer of a problem from which something was dropped, judged by the whole problem."""
    layer = compile_layer(LOOSE, [b], [x])
    layer.origin.witness = Witness(LOST[lost], [b])
    with pytest.raises(CvxlpgdError, match=r"do not agree on what the problem is"):
        layer.forward([VALUE])


def test_a_bound_of_a_variable_is_watched_too():
    bounded = cp.Variable(3, bounds=[0, 0.5])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(bounded - b)))
    layer = compile_layer(problem, [b], [bounded])
    layer.origin.witness.check([VALUE], [np.full(3, 0.5)], np.sum((VALUE - 0.5) ** 2))
    with pytest.raises(CvxlpgdError, match="violates"):
        layer.origin.witness.check([VALUE], [VALUE], 0.0)


def test_the_edge_of_an_atom_s_domain_is_no_disagreement():
    """At -1e-10 a power is NaN and an entropy is -inf."""
    power = cp.Problem(cp.Minimize(cp.sum(cp.power(x, 1.5)) + b @ x))
    entropy = cp.Problem(LOOSE.objective, [cp.sum(cp.entr(x)) >= -5])
    for problem, objective in ((power, 0.0), (entropy, float(VALUE @ VALUE))):
        Witness(problem, [b]).check([VALUE], [np.full(3, -1e-10)], objective)


def test_it_speaks_once_and_writes_to_nothing():
    layer = compile_layer(LOOSE, [b], [x])
    layer.forward([VALUE])
    assert layer.origin.witness is None
    assert x.value is None
    assert b.value is None
    assert LOOSE.value is None


@pytest.mark.parametrize("lost", [None, "a constraint"])
def test_threads_that_call_first_all_watch(lost):
    layer = compile_layer(LOOSE, [b], [x])
    if lost:
        layer.origin.witness = Witness(LOST[lost], [b])
    start = threading.Barrier(6)

    def call(k):
        start.wait()
        layer.forward([VALUE * (1 + k / 10)])

    with ThreadPoolExecutor(6) as pool:
        errors = [future.exception() for future in [pool.submit(call, k) for k in range(6)]]
    if lost:
        assert all("violates" in str(error) for error in errors)
    else:
        assert errors == [None] * 6
    assert (layer.origin.witness is None) == (lost is None)


def test_the_users_own_values_stay_as_they_are():
    own, a = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(own - a)), [cp.norm(own) <= 1])
    a.value, own.value = np.arange(3.0), np.full(3, 7.0)
    problem.constraints[0].dual_variables[0].save_value(np.array(5.0))
    before = problem.value
    compile_layer(problem, [a], [own]).forward([VALUE])
    assert a.value.tolist() == [0.0, 1.0, 2.0]
    assert own.value.tolist() == [7.0] * 3
    assert problem.constraints[0].dual_value == 5.0
    assert problem.value == before


def test_it_waits_for_a_sample_that_is_solved():
    layer = compile_layer(LOOSE, [b], [x], solver=SCS(max_iters=1))
    with pytest.warns(InaccurateSolutionWarning):
        layer.forward([VALUE])
    assert layer.origin.witness is not None
    layer.forward([VALUE], solver_args={"max_iters": 10_000})
    assert layer.origin.witness is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_watch_as_well(copied):
    layer = compile_layer(LOOSE, [b], [x])
    layer.origin.witness = Witness(LOST["a constraint"], [b])
    with pytest.raises(CvxlpgdError, match="violates"):
        copied(layer).forward([VALUE])


def test_a_quadratic_objective_of_a_symmetric_variable_is_right_or_an_error():
    """CVXPY before 1.9.3 compiles it wrongly; a layer must not return what comes of it."""
    C, X = cp.Parameter((2, 2), symmetric=True), cp.Variable((2, 2), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X) / 2 - cp.trace(C @ X)))
    layer, value = compile_layer(problem, [C], [X]), np.array([[2.0, 0.5], [0.5, 1.0]])
    if MISCOMPILED:
        with pytest.raises(CvxlpgdError, match="objective"):
            layer.forward([value])
    else:
        found = layer.forward([value]).outputs[0].reshape(2, 2)
        np.testing.assert_allclose(found, value, atol=1e-7)


@pytest.mark.parametrize("weigh", [lambda v: 2 * v, lambda v: cp.multiply(np.full((3, 1), 2), v)])
def test_what_cvxpy_evaluates_wrongly_is_no_disagreement(weigh):
    """The value of upper_tri has another shape than it: in products it spreads, or fails."""
    X, C = cp.Variable((3, 3)), cp.Parameter((3, 3))
    value = np.arange(9.0).reshape(3, 3)
    weighted, whole = weigh(cp.upper_tri(X)), cp.sum_squares(X - C)
    entries = [2 * X[i, j] for i in range(3) for j in range(i + 1, 3)]
    found = cp.Problem(cp.Minimize(whole + cp.sum(weighted)), [weighted >= 1, weighted <= 7])
    wanted = cp.Problem(
        cp.Minimize(whole + sum(entries)), [v >= 1 for v in entries] + [v <= 7 for v in entries]
    )
    outputs = (compile_layer(p, [C], [X]).forward([value]).outputs[0] for p in (found, wanted))
    np.testing.assert_allclose(*outputs, atol=1e-7)


def test_quantum_entropies_are_what_they_mean():
    """D(X|Y) = tr X (log X - log Y); CVXPY compiles it rightly and evaluates it wrongly."""
    X, C = cp.Variable((2, 2), symmetric=True), cp.Parameter((2, 2), symmetric=True)
    Y, value = np.array([[2.0, -1.0], [-1.0, 1.5]]), np.array([[1.0, 0.3], [0.3, 2.0]])
    layer = compile_layer(cp.Problem(cp.Minimize(cp.quantum_rel_entr(X, Y)), [X == C]), [C], [X])
    layer.forward([value])
    logarithms = [(v * np.log(w)) @ v.T for w, v in map(np.linalg.eigh, (value, Y))]
    wanted = np.trace(value @ (logarithms[0] - logarithms[1]))
    np.testing.assert_allclose(layer.info.objective, wanted, rtol=1e-5)
    X.value = value
    assert abs(layer.origin.problem.objective.value - wanted) > 1


def test_where_a_function_spreads_is_no_disagreement():
    """x'P⁻¹x at a singular P may have any value, by rounding."""
    v, t, w = cp.Variable(2), cp.Variable(nonneg=True), cp.Parameter(2)
    # at the solution t = 0 and v = 0
    P = cp.bmat([[t, 0], [0, 1]])
    problem = cp.Problem(cp.Minimize(cp.matrix_frac(v, P) + w @ cp.abs(v) + 2 * t))
    witness = Witness(problem, [w])
    nearly = [np.array([1e-7, 0.0]), np.array(1e-15)]
    at = {variable.name(): value for variable, value in zip([v, t], nearly, strict=True)}
    order = [at[variable.name()] for variable in problem.variables()]
    witness.check([VALUE[:2]], order, 0.0)
    order = [np.ones(variable.shape) for variable in problem.variables()]
    with pytest.raises(CvxlpgdError, match="do not agree"):
        witness.check([VALUE[:2]], order, 0.0)


@pytest.mark.parametrize("eps", [1e-2, 1e-3])
@pytest.mark.parametrize("solver", ["SCS", "CLARABEL"])
def test_a_loose_tolerance_is_no_disagreement(solver, eps):
    share, cost = cp.Variable(3), cp.Parameter(3)
    entropic = cp.Problem(cp.Minimize(cost @ share - cp.sum(cp.entr(share))), [cp.sum(share) == 1])
    for seed in range(5):
        layer = compile_layer(entropic, [cost], [share], solver=solver, solver_args={"eps": eps})
        layer.forward([np.random.default_rng(seed).normal(size=3)])
        assert layer.info.ok.all()
