"""What layers keep, and for how long: with the graph, from call to call, never for another."""

from __future__ import annotations

import gc

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD
from cvxlpgd.derivatives import perturbation
from cvxlpgd.program.threads import workers
from cvxlpgd.torch import CvxpyLayer

SOLVERS = ("DAQP", "HIGHS", "CLARABEL", "SCS", "OSQP")
BATCH = 4


def quadratic(solver: str | None) -> tuple[CvxpyLayer, list[torch.Tensor]]:
    """A projection with a matrix parameter; LPGD at a fixed tau."""
    n, rows = 6, 4
    x, S, q, b = cp.Variable(n), cp.Parameter((rows, n)), cp.Parameter(n), cp.Parameter(rows)
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(x) + q @ x), [S @ x <= b, cp.sum(x) == 1, x >= -1]
    )
    layer = CvxpyLayer(problem, [S, q, b], [x], solver=solver, derivative=LPGD(tau=1e-3))
    random = np.random.default_rng(0)
    values = [
        random.standard_normal((rows, n)),
        random.standard_normal((BATCH, n)),
        random.uniform(0.5, 1.0, rows),
    ]
    return layer, [torch.tensor(v, requires_grad=True) for v in values]


def gradients(found: torch.Tensor, values: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad((found * found).sum(), values, retain_graph=True))


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(bool((a == b).all()) for a, b in zip(one, other, strict=True))


every = pytest.mark.parametrize("solver", SOLVERS)


@pytest.fixture(params=[True, False], ids=["path", "solver"])
def by_path(request, monkeypatch) -> bool:
    """Whether quadratic programs' ends may come from the path; if not, solvers are asked."""
    if not request.param:
        monkeypatch.setattr(perturbation, "serves", lambda structure: False)
    return bool(request.param)


@every
def test_backward_twice_and_out_of_order(solver: str, by_path: bool) -> None:
    layer, values = quadratic(solver)
    (first,) = layer(*values)
    expected = gradients(first, values)
    assert equal(gradients(first, values), expected)
    moved = [v.detach() * 1.1 for v in values]
    for v in moved:
        v.requires_grad_()
    (second,) = layer(*moved)
    (third,) = layer(*values)
    assert equal(gradients(first, values), expected)  # after others were solved
    alone, _ = quadratic(solver)
    assert equal(gradients(second, moved), gradients(alone(*moved)[0], moved))
    assert equal(gradients(third, values), expected)


@every
def test_two_layers_interleaved(solver: str) -> None:
    (one, values), (other, _) = quadratic(solver), quadratic(solver)
    doubled = [2.0 * v.detach() for v in values]
    expected = [one(*values)[0].detach(), other(*doubled)[0].detach()]
    for _ in range(2):
        assert equal([one(*values, warm_start=False)[0]], expected[:1])
        assert equal([other(*doubled)[0]], expected[1:])


@every
def test_the_backward_pass_sets_nothing_up_again(solver: str, by_path: bool) -> None:
    layer, values = quadratic(solver)
    (found,) = layer(*values)
    forward = layer.info.setups.sum()
    assert 1 <= forward <= BATCH
    gradients(found, values)
    again = layer.info.setups.sum() - forward
    if by_path and solver in ("DAQP", "CLARABEL"):
        assert again == layer.info.resolve_iterations.sum() == 0
    elif solver == "SCS" and not by_path:  # one object for both ends
        assert again == BATCH
    else:  # how many threads take part, each with an object, depends on how busy the machine is
        assert forward + again <= max(forward, workers())
    if solver in ("DAQP", "SCS"):
        cold = layer.info.iterations.sum()
        assert layer.info.resolve_iterations.sum() < 2 * cold


@every
def test_warm_calls_keep_what_still_fits(solver: str) -> None:
    layer, (S, q, b) = quadratic(solver)
    layer(S, q, b, warm_start=True)
    layer(S, q + 0.01, b, warm_start=True)
    if solver != "SCS":  # a thread that had no part in the first call sets up its own
        assert layer.info.setups.sum() < workers()
    changes = [(1.5 * S, q, b), (S, q, b + 0.1), (S, -q, b), (S, q[:2], b), (S + 0.1, q, b)]
    for values in changes:
        (found,) = layer(*values, warm_start=True)
        (fresh,) = layer(*values)
        torch.testing.assert_close(found, fresh, atol=1e-6, rtol=0)
    single = [v.detach().to(torch.float32) for v in (S, q, b)]
    (found,) = layer(*single, warm_start=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, layer(*single)[0], atol=1e-5, rtol=0)


def test_it_lives_as_long_as_the_graph() -> None:
    layer, values = quadratic("DAQP")
    with torch.no_grad():
        layer(*values)
    gc.collect()
    assert layer.info.solution.workspace is None
    (found,) = layer(*values)
    assert layer.info.solution.workspace is not None
    del found
    gc.collect()
    assert layer.info.solution.workspace is None
    assert layer.info.solution.ok.all()
    with torch.no_grad():
        layer(*values, warm_start=layer.info.solution)
    gc.collect()
    assert layer.info.solution.workspace is not None  # asked for
