"""Values by the names of their parameters, in every framework."""

from __future__ import annotations

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cvxlpgd.errors import InvalidInput
from cvxlpgd.jax import CvxpyLayer as JaxLayer
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.frameworks import FRAMEWORKS, jax_with

A, b, t = cp.Parameter((2, 3), name="A"), cp.Parameter(2, name="b"), cp.Parameter(name="t")
x = cp.Variable(3)
PROBLEM = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + cp.sum_squares(x)), [cp.sum(x) <= t])
A_VALUE = np.random.default_rng(0).normal(size=(2, 3))
VALUES = {"A": A_VALUE, "b": np.array([1.0, -2.0]), "t": np.array(0.5)}


@pytest.fixture(autouse=True)
def doubles():
    with jax_with(x64=True):
        yield


def layer_of(framework):
    return framework.layer(PROBLEM, [A, b, t], [x])


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=str)
@pytest.mark.parametrize("positional", [0, 1, 2, 3])
def test_names_and_positions_are_the_same_call(framework, positional):
    layer, each = layer_of(framework), {k: framework.array(v) for k, v in VALUES.items()}
    (expected,) = layer(*each.values())
    first = list(each)[:positional]
    named = {name: each[name] for name in reversed(each) if name not in first}
    (solution,) = layer(*(each[name] for name in first), **named)
    assert np.array_equal(framework.numpy(solution), framework.numpy(expected))


def test_the_pullback_has_the_order_of_the_parameters():
    layer = NumpyLayer(PROBLEM, [A, b, t], [x])
    expected = layer.vjp(*VALUES.values())[1](np.ones(3))
    gradients = layer.vjp(t=VALUES["t"], A=VALUES["A"], b=VALUES["b"])[1](np.ones(3))
    assert all(np.array_equal(g, v) for g, v in zip(gradients, expected, strict=True))


def test_options_beside_names():
    layer = CvxpyLayer(PROBLEM, [A, b, t], [x], solver="SCS")
    each = {k: torch.tensor(v) for k, v in VALUES.items()}
    layer(each["A"], t=each["t"], b=each["b"], warm_start=True, solver_args={"max_iters": 10_000})
    assert layer.info.ok.all()


def test_transforms_of_jax():
    layer = JaxLayer(PROBLEM, [A, b, t], [x], single=True)
    each = {k: jnp.asarray(v) for k, v in VALUES.items()}

    def loss(b, **others):
        return (layer(b=b, **others) ** 2).sum()

    others = {"A": each["A"], "t": each["t"]}
    expected = jax.grad(lambda b: (layer(each["A"], b, each["t"]) ** 2).sum())(each["b"])
    assert np.array_equal(jax.grad(loss)(each["b"], **others), expected)
    assert np.array_equal(jax.jit(jax.grad(loss))(each["b"], **others), expected)
    batch = jnp.stack([each["b"], 2 * each["b"]])
    rows = jax.vmap(lambda b: jax.grad(loss)(b, **others))(batch)
    np.testing.assert_allclose(rows[0], expected, rtol=1e-9)


def test_transforms_and_hooks_of_torch():
    layer = CvxpyLayer(PROBLEM, [A, b, t], [x], single=True)
    each = {k: torch.tensor(v) for k, v in VALUES.items()}
    seen = []
    hook = layer.register_forward_hook(
        lambda module, args, kwargs, output: seen.append((len(args), sorted(kwargs))),
        with_kwargs=True,
    )
    expected = layer(*each.values())
    assert torch.equal(layer(each["A"], t=each["t"], b=each["b"]), expected)
    hook.remove()
    assert seen == [(3, []), (1, ["b", "t"])]

    def loss(b_value):
        return layer(t=each["t"], b=b_value, A=each["A"]).square().sum()

    gradient = torch.func.grad(loss)(each["b"])
    leaf = each["b"].clone().requires_grad_()
    layer(each["A"], leaf, each["t"]).square().sum().backward()
    assert torch.equal(gradient, leaf.grad)
    rows = torch.func.vmap(torch.func.grad(loss))(torch.stack([each["b"], 2 * each["b"]]))
    torch.testing.assert_close(rows[0], leaf.grad)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    other = each["b"].clone().requires_grad_()
    compiled(other).backward()
    torch.testing.assert_close(other.grad, leaf.grad)


def test_a_wrong_name_in_a_compiled_function():
    layer = CvxpyLayer(PROBLEM, [A, b, t], [x], single=True)
    each = {k: torch.tensor(v) for k, v in VALUES.items()}
    compiled = torch.compile(lambda b: layer(A=each["A"], c=b, t=each["t"]), backend="aot_eager")
    with pytest.raises(InvalidInput, match="c is neither a parameter"):
        compiled(each["b"])


CALLS = {  # positional values, values by name, what the message has
    "unknown": (2, ["T"], "T is neither a parameter of this layer, which has A, b, t, nor an "
                          r"option of a call \(solver_args, warm_start\)"),
    "misspelled option": (3, ["warmstart"], "did you mean warm_start"),
    "too many": (4, ["t"], "received 5 tensors, expected 3"),
    "twice": (2, ["b", "t"], "parameter b is given twice, by name and as value 1 by position"),
    "missing": (1, ["b"], "no value for parameter t"),
    "none": (0, ["A"], "no value for parameter b, t"),
}  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=str)
@pytest.mark.parametrize(("positional", "names", "text"), CALLS.values(), ids=CALLS.keys())
def test_errors(framework, positional, names, text):
    layer, each = layer_of(framework), [framework.array(v) for v in VALUES.values()]
    with pytest.raises(InvalidInput, match=text):
        layer(*[*each, each[0]][:positional], **dict.fromkeys(names, each[1]))


def test_names_that_two_parameters_have():
    one, two, other = (cp.Parameter(name=name) for name in ("p", "p", "q"))
    y = cp.Variable()
    cost = cp.square(y - one) + cp.square(y - two) + other * y
    layer = NumpyLayer(cp.Problem(cp.Minimize(cost)), [one, two, other], [y])
    (solution,) = layer(1.0, 3.0, q=0.0)
    assert solution == pytest.approx(2.0)
    with pytest.raises(InvalidInput, match="0 and 1 are both named p: pass them by position"):
        layer(p=1.0, q=0.0)


def test_a_parameter_with_the_name_of_an_option():
    named, y = cp.Parameter(name="warm_start"), cp.Variable()
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.square(y - named) + cp.square(y - b[0]))),
                       [named, b], [y])  # fmt: skip
    layer(torch.tensor(1.0), b=torch.ones(2), warm_start=True)
    with pytest.raises(InvalidInput, match="warm_start is an option's name, so pass that"):
        layer(warm_start=torch.tensor(1.0), b=torch.ones(2))


def test_names_that_cvxpy_generates():
    p, y = cp.Parameter(), cp.Variable()
    layer = NumpyLayer(cp.Problem(cp.Minimize(cp.square(y - p))), [p], [y])
    assert layer(**{p.name(): 3.0})[0] == pytest.approx(3.0)
