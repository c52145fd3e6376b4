"""Where solves start from, and who runs them."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cvxpy as cp
import pytest
import torch

from cvxlpgd.torch import CvxpyLayer
from tests.helpers.layers import gradients, layer_of, same, tensors

QUADRATIC = "quadratic_constrained"


@pytest.mark.parametrize("name", [QUADRATIC, "second_order_cone"])
def test_warm_starts(name):
    layer, values = layer_of(name, solver="SCS"), tensors(name, 3)
    cold = layer(*values, warm_start=True)
    iterations = layer.info.iterations
    warm = layer(*values, warm_start=True)
    assert (layer.info.iterations < iterations).all()
    torch.testing.assert_close(warm, cold, rtol=1e-6, atol=1e-6)
    nearby = [values[0], *(v + 1e-4 for v in values[1:])]
    exact = layer(*nearby)
    iterations, start = layer.info.iterations, layer.info.solution
    found = layer(*nearby, warm_start=True)  # from the newest warm-started call
    assert layer.info.iterations.sum() < iterations.sum()
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)
    found = layer(*nearby, warm_start=start)
    assert (layer.info.iterations < iterations).all()
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)
    # nothing is stored unless asked: a cold call is bitwise what it was
    assert same(layer(*values), cold)


def test_warm_starts_are_kept_by_batch_shape_and_thread():
    layer, values = layer_of(QUADRATIC, solver="SCS"), tensors(QUADRATIC, 4)
    layer(*values, warm_start=True)
    cold = layer.info.iterations[:2]
    layer(*(v[:2] for v in values), warm_start=True)
    assert (layer.info.iterations == cold).all()
    layer(*(v[:2] for v in values), warm_start=True)
    assert (layer.info.iterations < cold).all()
    found = []

    def elsewhere():
        layer(*values, warm_start=True)
        found.append(layer.info.iterations[:2])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert (found[0] == cold).all()


def test_a_warm_start_may_come_from_another_solver_and_be_partly_failed():
    values = tensors("scalars", 2)
    start = layer_of("scalars", solver="CLARABEL")
    start(*values)
    layer = layer_of("scalars", solver="SCS")
    layer(*values)
    cold = layer.info.iterations
    layer(*values, warm_start=start.info.solution)
    assert (layer.info.iterations < cold).all()
    x, low, high = cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= high])
    layer = CvxpyLayer(problem, [low, high], [x], solver="SCS", on_failure="nan")
    with pytest.warns(UserWarning, match="sample 1"):
        layer(torch.tensor([1.0, 3.0]), torch.tensor(2.0), warm_start=True)
    (found,) = layer(torch.tensor([1.0, 1.5]), torch.tensor(2.0), warm_start=True)
    assert found.tolist() == pytest.approx([1.0, 1.5], abs=1e-6)


@pytest.mark.parametrize("name", [QUADRATIC, "entropy"])
def test_executors(name):
    layer, values = layer_of(name), tensors(name, 4)
    expected = [output.detach() for output in layer(*values)], gradients(layer, values)
    with ThreadPoolExecutor(3) as executor:
        threaded = layer_of(name, executor=executor)
        assert same(threaded(*values), expected[0])
        assert same(gradients(threaded, values), expected[1])
        assert threaded.info.status.tolist() == ["solved"] * 4
        assert threaded(*tensors(name, 0))[0].shape[0] == 0
        alone = pickle.loads(pickle.dumps(threaded))
        later = executor.submit(int)
    assert later.done()  # the executor stays the caller's
    assert same(alone(*values), expected[0])


def test_executor_of_processes():
    spawned = multiprocessing.get_context("spawn")
    layer, values = layer_of("scalars"), tensors("scalars", 3)
    expected = [output.detach() for output in layer(*values)], gradients(layer, values)
    with ProcessPoolExecutor(2, mp_context=spawned) as executor:
        layer = layer_of("scalars", executor=executor)
        assert same(layer(*values), expected[0])
        assert same(gradients(layer, values), expected[1])
