"""What a call reports, and that calls do not disturb each other."""

from __future__ import annotations

import pickle
import threading

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import (
    CvxlpgdError,
    FailedSampleWarning,
    InaccurateSolutionWarning,
    SolveFailed,
)
from cvxlpgd.solvers import SCS
from cvxlpgd.torch import CvxpyLayer
from tests import zoo
from tests.helpers.layers import copies, gradients, layer_of, loss, same, tensors

QUADRATIC = "quadratic_constrained"
ARRAYS = (
    "status", "ok", "objective", "iterations", "seconds", "primal_residual", "dual_residual", "gap",
    "tau", "retries", "differentiated",
)  # fmt: skip


@pytest.mark.parametrize("axes", [(), (3,), (2, 1, 2), (0,)], ids=str)
def test_info_has_the_batch_shape(axes):
    layer = layer_of(QUADRATIC)
    layer(*tensors(QUADRATIC, *axes))
    for name in ARRAYS:
        value = getattr(layer.info, name)
        assert isinstance(value, np.ndarray)
        assert value.shape == axes
        assert value is layer.info[name]
    assert (layer.info.status == "solved").all()
    assert layer.info.ok.all()
    assert (layer.info.primal_residual < 1e-7).all()
    assert (layer.info.iterations > 0).all()
    with pytest.raises(KeyError, match="objective"):
        layer.info["objektive"]


def test_info_before_a_call():
    with pytest.raises(CvxlpgdError, match="has not called"):
        _ = layer_of("scalars").info


def test_the_backward_pass_reports_to_its_own_forward():
    layer, (a, b) = layer_of("scalars"), tensors("scalars", 4, grad=True)
    first = layer(a[:2], b[:2])[0]
    info = layer.info
    second = layer(a, b)[0]
    assert np.isnan(info.tau).all()
    first.sum().backward()
    assert (info.tau == 0).all()  # the limit
    assert np.isnan(layer.info.tau).all()
    second[1:].sum().backward()  # the first sample has no cotangent
    assert np.isnan(layer.info.tau).tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", ["portfolio", "log_log_convex", "box_of_largest_volume"])
def test_the_objective_is_the_users(name):
    row, layer = zoo.row_named(name), layer_of(name)
    layer(*tensors(name, 2))
    problem, parameters, _ = row.build()
    for i, found in enumerate(layer.info.objective):
        for parameter, value in zip(parameters, row.inputs(2), strict=True):
            zoo.assign(parameter, value[i])
        problem.solve(gp=row.gp, solver="CLARABEL")
        assert found == pytest.approx(problem.value, rel=1e-5)


@pytest.mark.parametrize("solver", [None, "SCS", "ECOS", "OSQP"])
@pytest.mark.parametrize("name", ["scalars", QUADRATIC, "linear_program", "second_order_cone"])
def test_a_sample_does_not_depend_on_its_mates_or_on_earlier_calls(name, solver):
    if solver == "OSQP" and name == "second_order_cone":
        solver = "CLARABEL"
    layer, values = layer_of(name, solver=solver), tensors(name, 4)
    alone = [([v[i] for v in values]) for i in range(4)]
    outputs = [layer(*v) for v in alone]
    grads = [gradients(layer, v) for v in alone]
    for order in ([0, 1, 2, 3], [3, 0], [2, 2, 1]):
        chosen = [v[order] for v in values]
        batched, every = layer(*chosen), gradients(layer, chosen)
        for position, i in enumerate(order):
            assert same([o[position] for o in batched], outputs[i])
            assert same([g[position] for g in every], grads[i])
    assert same(layer(*alone[0]), outputs[0])


def test_threads_do_not_disturb_each_other():
    layer, values = layer_of(QUADRATIC), tensors(QUADRATIC, 4)
    expected = [(layer(*(v[i] for v in values)), layer.info.objective) for i in range(4)]
    grads = [gradients(layer, [v[i] for v in values]) for i in range(4)]
    wrong, start = [], threading.Barrier(4)

    def work(i):
        start.wait()
        for _ in range(4):
            leaves = copies([v[i] for v in values])
            outputs = layer(*leaves)
            info = layer.info
            loss(outputs).backward()
            mine = same(outputs, expected[i][0]) and info is layer.info
            if not (mine and info.objective == expected[i][1] and info.tau == 0):
                wrong.append(i)
            if not same([leaf.grad for leaf in leaves], grads[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_thread_that_did_not_call_has_no_info():
    layer, found = layer_of("scalars"), []
    layer(*tensors("scalars"))
    thread = threading.Thread(target=lambda: found.append(layer._layer._memory.record))
    thread.start()
    thread.join()
    assert found == [None]


def test_fallback():
    values = tensors(QUADRATIC, 2)
    weak = SCS(max_iters=1)
    layer = layer_of(QUADRATIC, solver=weak)
    with pytest.warns(InaccurateSolutionWarning, match="2 of 2 samples"):
        layer(*values)
    assert layer.info.status.tolist() == ["inaccurate"] * 2
    layer = layer_of(QUADRATIC, solver=weak, fallback="CLARABEL", derivative=Implicit())
    outputs = layer(*values)
    assert layer.info.status.tolist() == ["solved"] * 2
    assert same(outputs, layer_of(QUADRATIC, solver="CLARABEL")(*values))
    assert all(g.any() for g in gradients(layer, values))


def test_time_limit():
    values = tensors(QUADRATIC)
    with pytest.raises(SolveFailed, match="MaxTime"):
        layer_of(QUADRATIC, solver="CLARABEL", time_limit=1e-9)(*values)
    with pytest.warns(InaccurateSolutionWarning):
        layer_of(QUADRATIC, solver="SCS", time_limit=1e-9)(*values)
    found = layer_of(QUADRATIC, time_limit=60)(*values)
    assert same(found, layer_of(QUADRATIC)(*values))


def test_verbose(capfd):
    layer_of("scalars", solver="CLARABEL")(*tensors("scalars"))
    assert capfd.readouterr() == ("", "")
    layer_of("scalars", solver="CLARABEL", verbose=True)(*tensors("scalars"))
    assert "Clarabel" in capfd.readouterr().out


def test_a_schedule_is_read_once_for_each_forward():
    taus = iter([0.1, np.array([0.2, 0.3]), 0.4])
    layer = layer_of("scalars", derivative=LPGD(tau=lambda: next(taus)))
    for expected in ([0.1, 0.1], [0.2, 0.3]):
        value = loss(layer(*tensors("scalars", 2, grad=True)))
        value.backward(retain_graph=True)
        value.backward()
        assert layer.info.tau.tolist() == expected
    assert next(taus) == 0.4
    reads = iter([0.1])
    layer, (a, b) = (
        layer_of("scalars", derivative=LPGD(tau=lambda: next(reads))),
        tensors("scalars"),
    )
    slope = torch.func.vmap(torch.func.jacrev(lambda a: layer(a, b)[0]))
    assert slope(torch.stack([a, a + 1])).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
def test_tau_for_each_sample():
    tau = np.array([[0.1], [0.2]])
    layer, values = layer_of(QUADRATIC, derivative=LPGD(tau=tau)), tensors(QUADRATIC, 2, 2)
    grads = gradients(layer, values)
    assert (layer.info.tau == [[0.1, 0.1], [0.2, 0.2]]).all()
    for i, j in np.ndindex(2, 2):
        alone = layer_of(QUADRATIC, derivative=LPGD(tau=tau[i, 0]))
        assert same(gradients(alone, [v[i, j] for v in values]), [g[i, j] for g in grads])
    # under a transform that adds an axis too
    q = values[1].flatten()
    rows = torch.func.jacrev(lambda q: layer(values[0], q.reshape(2, 2, 4), *values[2:])[0])(q)
    torch.testing.assert_close(rows.movedim(-1, 0)[0, 1], rows[1, ..., 0])


@pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY:RuntimeWarning")  # CVXPY's own
@pytest.mark.parametrize("name", [QUADRATIC, "sparse", "log_log_convex", "parametric_bounds"])
def test_nothing_of_the_callers_is_written_to(name):
    row = zoo.row_named(name)
    problem, parameters, variables = row.build()
    for parameter, value in zip(parameters, row.inputs(1), strict=True):
        zoo.assign(parameter, value[0])
    problem.solve(gp=row.gp, solver="CLARABEL")
    leaves = parameters + problem.variables()
    duals = [v for c in problem.constraints for v in c.dual_variables]

    def state():
        arrays = [v.value_sparse if v.sparse_idx is not None else v.value for v in leaves + duals]
        return problem.value, problem.status, pickle.dumps(arrays)

    before, attributes = state(), [dict(v.attributes) for v in leaves]
    lists = list(parameters), list(variables)
    options = {"eps": 1e-9}
    layer = CvxpyLayer(problem, *lists, gp=row.gp, solver_args=options)
    values = [torch.tensor(2 * v[0]) for v in row.inputs(2)]
    if name == QUADRATIC:
        values = [torch.tensor(v[1]) for v in row.inputs(2)]
    kept = copies(values)
    loss(layer(*values, solver_args=options))
    gradients(layer, values)
    assert same(values, kept)
    assert state() == before
    assert [dict(v.attributes) for v in leaves] == attributes
    assert lists == (parameters, variables)
    assert options == {"eps": 1e-9}


def test_info_prints_as_one_line():
    layer = layer_of(QUADRATIC)
    layer(*tensors(QUADRATIC, 3))
    assert repr(layer.info).startswith("Record(DAQP: 3 solved; KKT residual <= ")
    x, b = cp.Variable(), cp.Parameter()
    nothing = cp.Problem(cp.Minimize(x), [x >= b, x <= 1])
    infeasible = CvxpyLayer(nothing, [b], [x], on_failure="nan")
    with pytest.warns(FailedSampleWarning):
        infeasible(torch.tensor([2.0, 3.0]))
    assert "2 infeasible" in repr(infeasible.info)
