"""Gradients of parameters that a batch shares: the sums of every sample's own, from one product."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, Exact
from cvxlpgd.layer import compile_layer, totals
from cvxlpgd.schedules import Relative

N, ROWS, BATCH = 6, 4, 5


def quadratic(rng):
    x, S, q = cp.Variable(N), cp.Parameter((N, N)), cp.Parameter(N)
    G, h = cp.Parameter((ROWS, N)), cp.Parameter(ROWS)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(S @ x) / 2 + q @ x), [G @ x <= h])
    values = [np.eye(N) + rng.normal(size=(N, N)) / 4, rng.normal(size=(BATCH, N)),
              rng.normal(size=(ROWS, N)), rng.uniform(0.1, 1.0, ROWS)]  # fmt: skip
    return problem, [S, q, G, h], [x], values


def semidefinite(rng):
    x, P, q = cp.Variable(N), cp.Parameter((N, N), PSD=True), cp.Parameter(N)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) + q @ x), [x >= -0.5, cp.sum(x) == 1])
    root = rng.normal(size=(N, N))
    return problem, [P, q], [x], [root @ root.T + np.eye(N), rng.normal(size=(BATCH, N))]


def second_order(rng):
    x, F, c = cp.Variable(N), cp.Parameter((ROWS, N)), cp.Parameter(N)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.norm(F @ x) <= 1, cp.norm(x) <= 2])
    return problem, [F, c], [x], [rng.normal(size=(ROWS, N)), rng.normal(size=(BATCH, N))]


def scaled_twice(rng):
    """The parameter reaches two entries each: its gradient is no selection of the data's."""
    x, a, q = cp.Variable(N), cp.Parameter(N), cp.Parameter(N)
    constraints = [a @ x <= 1, 2 * (a @ x) >= -1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + q @ x), constraints)
    return problem, [a, q], [x], [rng.normal(size=N), 2 * rng.normal(size=(BATCH, N))]


FAMILIES = (quadratic, semidefinite, second_order, scaled_twice)
DERIVATIVES = (LPGD(), Exact(), LPGD(tau=Relative(1e-4)))


def every(layer, values, bars):
    """The gradients of the whole batch, and the sums of those of each sample alone."""
    needed = [True] * len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = layer.forward(values)
        together = whole.vjp([bars], needed)
        alone, informative = [0.0] * len(values), []
        for i in range(BATCH):
            own = [
                v[i] if v.ndim > d else v for v, d in zip(values, layer_ranks(layer), strict=True)
            ]
            call = layer.forward(own)
            gradients = call.vjp([bars[i : i + 1]], needed)
            alone = [a + g for a, g in zip(alone, gradients, strict=True)]
            informative.append(bool(call.record.informative))
    sums = [g if g.ndim == d else g.sum(axis=0)
            for g, d in zip(together, layer_ranks(layer), strict=True)]  # fmt: skip
    return sums, alone, whole.record, informative


def layer_ranks(layer):
    return [len(domain.shape) for domain in layer.domains]


@pytest.mark.parametrize("derivative", DERIVATIVES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_the_sums_of_every_samples_own(family, derivative):
    rng = np.random.default_rng(3)
    problem, parameters, variables, values = family(rng)
    layer = compile_layer(problem, parameters, variables, derivative=derivative)
    bars = rng.normal(size=(BATCH, N)) * 10.0 ** rng.integers(-6, 6, size=(BATCH, 1))
    sums, alone, record, informative = every(layer, values, bars)
    for total, expected in zip(sums, alone, strict=True):
        assert total == pytest.approx(expected, rel=1e-8, abs=1e-10 * np.abs(expected).max())
    assert record.informative.tolist() == informative


@pytest.mark.parametrize("family", FAMILIES[:3])
def test_one_product_makes_them(family, monkeypatch):
    rng = np.random.default_rng(4)
    problem, parameters, variables, values = family(rng)
    layer = compile_layer(problem, parameters, variables)
    outcomes = []
    differentiate = totals.differentiate

    def watched(*arguments):
        outcomes.append(differentiate(*arguments))
        return outcomes[-1]

    monkeypatch.setattr(totals, "differentiate", watched)
    call = layer.forward(values)
    call.vjp([rng.normal(size=(BATCH, N))], [True] * len(values))
    assert len(outcomes) == 1
    assert outcomes[0] is not None
    assert np.nanmax(call.record.gradient_error) < 1e-9


def test_a_sample_that_no_row_touches_is_not_informative_of_them():
    x, q, G = cp.Variable(N), cp.Parameter(N), cp.Parameter((ROWS, N))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + q @ x), [G @ x <= 1])
    layer = compile_layer(problem, [q, G], [x])
    rng = np.random.default_rng(5)
    costs = np.stack([3 * rng.normal(size=N), 1e-3 * rng.normal(size=N), 3 * rng.normal(size=N)])
    call = layer.forward([costs, rng.normal(size=(ROWS, N))])
    with pytest.warns(match="zero"):
        gradient = call.vjp([rng.normal(size=(3, N))], [False, True])[1]
    assert call.record.informative.tolist() == [True, False, True]
    assert np.abs(gradient).max() > 0


def test_failed_samples_are_left_out():
    rng = np.random.default_rng(6)
    problem, parameters, variables, values = quadratic(rng)
    layer = compile_layer(problem, parameters, variables, on_failure="nan")
    bars, needed = rng.normal(size=(BATCH, N)), [True] * 4
    costs = values[1].copy()
    costs[2] = np.nan
    with pytest.warns(match="failed"):
        call = layer.forward([values[0], costs, *values[2:]])
    kept = np.delete(np.arange(BATCH), 2)
    others = layer.forward([values[0], values[1][kept], *values[2:]])
    for gradient, expected in zip(
        call.vjp([bars], needed), others.vjp([bars[kept]], needed), strict=True
    ):
        if gradient.shape == expected.shape:
            assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_samples_own_gradients_are_bitwise_those_of_it_alone():
    """Of a full matrix of its own, beside a diagonal that the batch shares, in the same field."""
    x, g, G = cp.Variable(N), cp.Parameter(N), cp.Parameter((ROWS, N))
    constraints = [cp.multiply(g, x) >= -1, G @ x <= 0.1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + cp.sum(x)), constraints)
    rng = np.random.default_rng(7)
    shared, own = rng.uniform(1, 3, N), rng.normal(size=(BATCH, ROWS, N))
    bars, layer = rng.normal(size=(BATCH, N)), compile_layer(problem, [g, G], [x])
    together = layer.forward([shared, own]).vjp([bars], [True, True])[1]
    assert together.any(axis=(1, 2)).all()
    for i in range(BATCH):
        alone = layer.forward([shared, own[i]]).vjp([bars[i : i + 1]], [True, True])[1]
        np.testing.assert_array_equal(together[i], alone)
