"""Arrays of other libraries, and what has no values: errors that name the value and a way out."""

from __future__ import annotations

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from jax.experimental.sparse import BCOO
from torch._subclasses import FakeTensorMode

from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidOption
from cvxlpgd.jax import CvxpyLayer as JaxLayer
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.torch import CvxpyLayer

a, b, x = cp.Parameter(2, name="a"), cp.Parameter(2, name="b"), cp.Variable(2)
PROBLEM = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= b])
LAYERS = {"torch": CvxpyLayer, "numpy": NumpyLayer, "jax": JaxLayer}
ONE = np.ones(2)


@pytest.fixture(scope="module")
def layers():
    return {name: kind(PROBLEM, [a, b], [x]) for name, kind in LAYERS.items()}


class DataFrame:
    """What a table of pandas with texts in it is to NumPy."""

    def __array__(self, *args, **kwargs):
        return np.array([1.0, "one"], dtype=object)


DataFrame.__module__ = "pandas"


def bcoo():
    return BCOO.fromdense(jnp.ones(2))


def quantized():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def losing():
    return [torch.ones((), requires_grad=True), torch.ones(())]


FOREIGN = {  # layer, what makes the value, what the message has after "value 1 (b) "
    "quantized": ("torch", quantized, r"is a quantized tensor; pass tensor\.dequantize\(\)"),
    "meta": ("torch", lambda: torch.ones(2, device="meta"), "is a meta or fake tensor, which has"),
    "fake": ("torch", lambda: FakeTensorMode().from_tensor(torch.ones(2)), "is a meta or fake"),
    "list that loses gradients": ("torch", losing, r"is a list of tensors .* torch\.stack"),
    "nested": ("torch", lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
               "is a nested tensor"),
    "BCOO to torch": ("torch", bcoo, r"cannot be made into a tensor.*value\.todense\(\)"),
    "table to torch": ("torch", DataFrame, r"cannot be made .*pass value\.to_numpy\(\)"),
    "tensor with gradient": ("numpy", lambda: torch.ones(2, requires_grad=True),
                             r"cannot .* an array: Can't call .*; the layers of cvxlpgd\.torch"),
    "sparse tensor": ("numpy", lambda: torch.ones(2).to_sparse(), r"cannot .*cvxlpgd\.torch"),
    "half precision of torch": ("numpy", lambda: torch.ones(2).bfloat16(), r".*cvxlpgd\.torch"),
    "BCOO to NumPy": ("numpy", bcoo, r"has dtype object; .*value\.todense\(\)"),
    "table to NumPy": ("numpy", DataFrame, r"has dtype object; .*value\.to_numpy\(\)"),
    "tensor to JAX": ("jax", lambda: torch.ones(2), r"is a torch\.Tensor; pass an array of JAX or "
                      r"NumPy; the layers of cvxlpgd\.torch take tensors"),
    "BCOO to JAX": ("jax", bcoo, r"is a jax.*BCOO; .* sparse arrays of JAX are not supported: pass"
                    r" value\.todense\(\)"),
    "SciPy to JAX": ("jax", lambda: sp.csr_array(np.ones((1, 2))), r".*pass value\.toarray\(\)"),
    "list of tensors to JAX": ("jax", losing, r"cannot be made into an array: .*cvxlpgd\.torch"),
    "objects to JAX": ("jax", lambda: np.array([1.0, None]), "has dtype object; real numbers"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
@pytest.mark.filterwarnings("ignore:.*quantiz")
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize(("name", "make", "text"), FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_arrays(layers, name, make, text):
    with pytest.raises(InvalidInput, match=rf"value 1 \(b\) {text}"):
        layers[name](ONE, make())


def test_arrays_that_every_library_reads(layers):
    """Without gradients, as before."""
    for value in (torch.ones(2), jnp.ones(2), [1.0, 1.0], (1, 1), np.ones(2, dtype=bool)):
        assert np.allclose(layers["numpy"](ONE, value)[0], 1)
    assert torch.allclose(layers["torch"](ONE, jnp.ones(2))[0], torch.ones(2).double())
    with torch.no_grad():
        assert torch.allclose(layers["torch"](ONE, losing())[0], torch.ones(2).double())


def test_numpy_layers_under_transforms(layers):
    layer, values = layers["numpy"], jnp.ones(2)
    for transform in (jax.jit, jax.grad, jax.vmap):
        with pytest.raises(InvalidInput, match=r"value 0 \(a\) .*the layers of cvxlpgd\.jax"):
            transform(lambda v: layer(v, ONE)[0].sum())(
                values[None] if transform is jax.vmap else values
            )
    with pytest.raises(InvalidInput, match=r"value 0 \(a\) .*the layers of cvxlpgd\.torch"):
        torch.func.grad(lambda v: torch.as_tensor(layer(v, ONE)[0]).sum())(torch.ones(2))


def test_torch_layers_under_transforms_of_jax(layers):
    with pytest.raises(InvalidInput, match=r"value 0 \(a\) .*the layers of cvxlpgd\.jax"):
        jax.jit(lambda v: layers["torch"](v, ONE)[0])(jnp.ones(2))


def test_the_record_while_jax_traces():
    """It would be that of an earlier call, as a constant of the compiled function."""
    layer = JaxLayer(PROBLEM, [a, b], [x], single=True)
    layer(ONE, ONE)

    def solve(value):
        return layer(value, ONE), layer.info.objective

    with pytest.raises(CvxlpgdError, match="none runs while JAX traces"):
        jax.jit(solve)(jnp.ones(2))
    with pytest.raises(CvxlpgdError, match="none runs while JAX traces"):
        jax.lax.map(solve, jnp.ones((3, 2)))
    assert solve(3 * jnp.ones(2))[1] == pytest.approx(0.0, abs=1e-9)

    def loss(value):
        star = layer(value, ONE)
        assert layer.info.objective == pytest.approx(0.25)  # of this very call
        return star.sum()

    assert np.allclose(jax.grad(loss)(jnp.array([3.0, 0.5])), [1, 0])


def test_traced_options(layers):
    def solve(value, eps):
        return layers["jax"](value, ONE, solver_args={"eps": eps})[0]

    with pytest.raises(InvalidOption, match=r"known before .* 'eps' is an argument .*static"):
        jax.jit(solve)(jnp.ones(2), 1e-6)
    assert np.allclose(jax.jit(solve, static_argnums=1)(jnp.ones(2), 1e-6), 1, atol=1e-4)


def test_outputs_of_a_compiled_layer_are_on_the_first_values_device():
    """Devices that this machine need not have: graphs are planned with tensors without values."""
    layer = CvxpyLayer(PROBLEM, [a, b], [x])
    numbers = layer._numbered
    with FakeTensorMode():
        cpu, cuda = torch.ones(2), torch.ones(2, device="cuda")
        for values in ((cpu, cuda), (cuda, cpu)):
            *outputs, ticket = torch.ops.cvxlpgd.solve(
                list(values), numbers.number, numbers.ranks, numbers.sizes, [False, False], False
            )
            assert outputs[0].device == values[0].device
            assert ticket.device.type == "cpu"
