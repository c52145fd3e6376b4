"""Traps of the backward pass: gradients that are wrong, without a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from campaigns.traps.trap import Layer, Seen, Trap, mine, numbers, off, outcome, tensor, theirs
from cvxlpgd import LPGD, Implicit

TIGHT: dict[str, Any] = {"eps": 1e-10, "max_iters": 100_000}


def _gradient(made: Any, values: list[torch.Tensor], bar: torch.Tensor) -> list[torch.Tensor]:
    leaves = [v.detach().clone().requires_grad_() for v in values]
    made(*leaves)[0].backward(bar)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


def _said(action: Callable[[], Any], kind: type[Warning] = UserWarning) -> tuple[Any, bool]:
    """The result of an action, and whether it warned."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = action()
    return found, any(issubclass(w.category, kind) for w in said)


def _power(make: Callable[[cp.Problem, list[cp.Parameter], cp.Variable], Any]) -> Seen:
    """Maximize the weighted geometric mean of x with c'x <= b: x_i = w_i b / c_i."""
    w, c, b, x = torch.tensor([0.2, 0.3, 0.5]), cp.Parameter(3), cp.Parameter(), cp.Variable(3)
    mean = cp.geo_mean(x, w.tolist(), approx=False)
    problem = cp.Problem(cp.Maximize(mean), [c @ x <= b])
    if refused := outcome(lambda: make(problem, [c, b], x)):
        return Seen(False, f"refused: {refused}")
    price = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64)
    values = [price, torch.tensor(3.0, dtype=torch.float64)]
    found = _gradient(make(problem, [c, b], x), values, torch.ones(3))[0]
    right = -w * 3.0 / price**2
    error = off(found, right)
    return Seen(not error <= 0.01, f"gradient {numbers(found)}, right {numbers(right)}")


def _scaled(make: Callable[[cp.Problem, list[cp.Parameter], cp.Variable], Any]) -> Seen:
    """Minimize s_i x_i²/2 + q_i x_i in [-1, 1], scales s_i from 1e-3 to 100: x_i = -q_i / s_i."""
    rng, n = np.random.default_rng(0), 40
    scale = np.logspace(-3, 2, n)
    value, bar = rng.normal(size=n) * scale, rng.normal(size=n)
    q, x = cp.Parameter(n), cp.Variable(n)
    cost = cp.sum_squares(cp.multiply(np.sqrt(scale), x)) / 2 + q @ x
    right = np.where(np.abs(value) < scale, -bar / scale, 0.0)
    made = make(cp.Problem(cp.Minimize(cost), [x >= -1, x <= 1]), [q], x)
    (found,), warned = _said(
        lambda: _gradient(made, [torch.tensor(value)], torch.tensor(bar)))  # fmt: skip
    error = off(found, torch.tensor(right))
    word = "with" if warned else "without"
    return Seen(not error <= 0.01 and not warned, f"gradient {error:.1%} off, {word} a warning")


def _vertex(layer: Layer, **options: Any) -> Seen:
    """The gradient of a linear program's cost, which is 0 exactly, informs or says so."""
    cost, x = cp.Parameter(4), cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0, x <= 0.6])
    made = layer(problem, [cost], [x], **options)
    values, bar = [tensor(1.0, 2.0, 3.0, 4.0)], torch.tensor([0.0, 0.0, -1.0, 0.0])
    (found,), warned = _said(lambda: _gradient(made, values, bar))
    size = float(found.abs().max())
    told = "informs" if found[2] > 0.01 else "warned of" if warned else "without a word"
    return Seen(told == "without a word", f"largest entry {size:.1g}, {told}")


def _triangle(layer: Layer) -> Seen:
    """The gradient of a symmetric parameter must be symmetric: a step along it must be allowed."""
    S, X = cp.Parameter((2, 2), symmetric=True), cp.Variable((2, 2), PSD=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S)))
    (grad,) = _gradient(
        layer(problem, [S], [X]), [tensor([2.0, 0.5], [0.5, 1.0])], torch.ones(2, 2)
    )
    skew = float((grad - grad.T).abs().max())
    return Seen(not skew <= 1e-6, f"gradient {numbers(grad)}")


def _shared(q_gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Seen:
    """Minimize |x|²/2 + q'x, x <= h, one q for 4 samples: x* = -q, so q's gradient is -4 ones."""
    q, h = tensor(1.0, 2.0), torch.full((4, 2), 5.0, dtype=torch.float64)
    found = q_gradient(q, h)
    return Seen(
        not off(found, torch.full((2,), -4.0)) <= 0.01, f"gradient {numbers(found)}, right -4"
    )


def _shared_qpth() -> Seen:
    from qpth.qp import QPFunction

    def gradient(q: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        eye, none = torch.eye(2).double(), torch.zeros(0).double()
        QPFunction(verbose=-1)(eye, q, eye, h, none, none).sum().backward()
        assert q.grad is not None
        return q.grad

    return _shared(gradient)


def _shared_qplayer() -> Seen:
    from proxsuite.torch.qplayer import QPFunction

    def gradient(q: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        eye, none = (
            torch.eye(2).double(),
            (torch.zeros((1, 0, 2)).double(), torch.zeros((1, 0)).double()),
        )
        low = torch.full_like(h, -1e20)
        QPFunction()(eye, q, *none, eye, low, h)[0].sum().backward()
        assert q.grad is not None
        return q.grad

    return _shared(gradient)


def _shared_layer(layer: Layer, **options: Any) -> Seen:
    q, h, x = cp.Parameter(2), cp.Parameter(2), cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + q @ x), [x <= h])
    made = layer(problem, [q, h], [x], **options)

    def gradient(value: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        made(value, limit)[0].sum().backward()
        assert value.grad is not None
        return value.grad

    return _shared(gradient)


def _rho(layer: Layer, **options: Any) -> Seen:
    """One problem written in two ways, with a proximal weight: the gradients must be the same."""
    rng = np.random.default_rng(6)
    A, b, bar = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3)
    gradients = []
    for written in (cp.sum_squares, lambda x: cp.square(cp.norm(x))):
        x, p = cp.Variable(3), cp.Parameter(5)
        problem = cp.Problem(cp.Minimize(cp.norm1(A @ x - p) + written(x)))
        made = layer(problem, [p], [x], **options)
        gradients += _gradient(made, [torch.tensor(b)], torch.tensor(bar))
    one, other = gradients
    return Seen(
        not off(other, one) <= 0.01, f"gradients {numbers(one[:2])} and {numbers(other[:2])} …"
    )


def _with(layer: Layer, **options: Any) -> Callable[..., Any]:
    return lambda problem, parameters, x: layer(problem, parameters, [x], **options)


RHO = {"mode": "lpgd", "derivative_kwargs": {"tau": 0.5, "rho": 0.7}}
TRAPS = {
    "power-cone": Trap(
        "The gradient through a power cone is wrong in silence",
        {"cvxpylayers": lambda: _power(_with(theirs())),
         "cvxpylayers + Moreau": lambda: _power(_with(theirs(), solver="MOREAU"))},
        lambda: _power(_with(mine())),
        ("derivatives/test_derivatives.py::test_lpgd_tends_to_finite_differences",
         "campaigns/test_traps.py::test_the_gradient_through_power_cones_is_that_of_the_formula"),
    ),
    "power-cone-exact": Trap(
        "The same, asked for the exact derivative by diffcp",
        {"cvxpylayers": lambda: _power(_with(theirs(), solver_args={"mode": "dense"}))},
        lambda: _power(_with(mine(), derivative=Implicit())),
        ("layer/test_option_errors.py::test_options",),
    ),
    "inaccurate-gradient": Trap(
        "The exact derivative of a badly scaled quadratic program is far off in silence",
        {"cvxpylayers": lambda: _scaled(_with(theirs())),
         "cvxpylayers + Moreau": lambda: _scaled(_with(theirs(), solver="MOREAU"))},
        lambda: _scaled(_with(mine(), derivative=Implicit())),
        ("derivatives/test_derivatives.py::test_iterative_modes_agree_with_the_dense_one",
         "campaigns/test_traps.py::test_the_exact_derivative_stands_wide_scales"),
    ),
    "vertex": Trap(
        "The gradient of a linear program is 0, or noise, without a word",
        {"cvxpylayers": lambda: _vertex(theirs()),
         "cvxpylayers + Moreau": lambda: _vertex(theirs(), solver="MOREAU")},
        lambda: _vertex(mine()),
        ("layer/test_migration.py::test_linear_programs_learn",
         "layer/test_migration.py::test_the_exact_gradient_is_zero_there"),
    ),
    "one-triangle": Trap(
        "A symmetric parameter's gradient is not symmetric: one step breaks the symmetry",
        {"cvxpylayers": lambda: _triangle(theirs())},
        lambda: _triangle(mine()),
        ("torch/test_torch_values.py::test_gradients_of_symmetric_parameters_are_symmetric",),
    ),
    "averaged-gradient": Trap(
        "The gradient of a parameter that the batch shares is averaged, not summed",
        {"qpth": _shared_qpth, "QPLayer": _shared_qplayer,
         "cvxpylayers": lambda: _shared_layer(theirs()),
         "cvxpylayers + Moreau": lambda: _shared_layer(theirs(), solver="MOREAU")},
        lambda: _shared_layer(mine()),
        ("torch/test_torch_values.py::test_gradients_of_shared_parameters_are_sums",),
    ),
    "rho-on-epigraphs": Trap(
        "With rho, LPGD's gradient depends on how the problem is written",
        {"cvxpylayers": lambda: _rho(theirs(), solver_args=RHO | TIGHT)},
        lambda: _rho(mine(), derivative=LPGD(tau=0.5, rho=0.7)),
        ("derivatives/test_derivatives.py::test_rho_does_not_depend_on_how_the_problem_is_written",),
    ),
}  # fmt: skip
