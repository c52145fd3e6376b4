"""Forward operators: vjp against differences, and the step size."""

from __future__ import annotations

import pytest
import torch

from cvxlpgd.errors import InvalidInput
from cvxlpgd.unrolled import step_size
from cvxlpgd.unrolled.operators import adjoint, data_gradient
from tests.unrolled.problems import MATRIX, N, data, operator


def points(batch=4, n=N):
    generator = torch.Generator().manual_seed(8)
    return torch.randn(batch, n, generator=generator, dtype=torch.float64)


def difference(of, x, direction, step=1e-5):
    return (of(x + step * direction) - of(x - step * direction)) / (2 * step)


def test_the_gradient_of_the_misfit_is_that_of_differences():
    x, y, u = points(), data(), points(5)[1:]

    def misfit(x):
        return (operator(x) - y).square().sum(1) / 2

    g = data_gradient(operator, x, y, False)
    torch.testing.assert_close((g * u).sum(1), difference(misfit, x, u), rtol=1e-8, atol=1e-8)
    assert not g.requires_grad


def test_the_adjoint_is_that_of_differences_and_linear_in_h():
    x, h, u = points(), data(), points(5)[1:]
    h.requires_grad_()
    pulled = adjoint(operator, x, h, False)
    expected = (difference(operator, x, u) * h).sum(1)
    torch.testing.assert_close((pulled * u).sum(1), expected, rtol=1e-8, atol=1e-8)
    (bar,) = torch.autograd.grad((pulled * u).sum(), h)  # J u
    torch.testing.assert_close(bar, difference(operator, x, u), rtol=1e-8, atol=1e-8)
    with torch.no_grad():
        assert not adjoint(operator, x, h, False).requires_grad


def test_what_is_given_stays_as_it_was():
    x, y = points(), data()
    data_gradient(operator, x, y, True)
    adjoint(operator, x, y, True)
    step_size(operator, x)
    assert not x.requires_grad
    assert x.grad is None


def test_the_step_size_is_that_of_the_steepest_sample():
    norm = torch.linalg.matrix_norm(MATRIX, 2)
    scales = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)

    def scaled(x):
        return scales[: len(x), None] * (x @ MATRIX.T)

    assert step_size(scaled, points(3)) == pytest.approx(float(1 / (3 * norm) ** 2))
    assert step_size(operator, torch.zeros(1, N)) == pytest.approx(float(1 / norm**2), rel=1e-5)


@pytest.mark.parametrize(
    ("operator", "x", "message"),
    [
        (lambda x: 0 * x, points(), "derivative is 0 at all"),
        (lambda x: x.sqrt(), torch.zeros(1, N), "derivative is not finite"),
        (lambda x: x[0], points(), r"\(4, 9\) to data \(4, m\), batch first; it returned \(9,\)"),
        (lambda x: x, points(0), "derivative is 0 at all"),
    ],
)
def test_operators_without_a_step_are_refused(operator, x, message):
    with pytest.raises(InvalidInput, match=message):
        step_size(operator, x)
