"""Layers of cone programs as functions of JAX arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cvxlpgd.numpy
from cvxlpgd.errors import CvxlpgdError
from cvxlpgd.jax import ConeLayer
from tests.cone_programs.programs import case

ONE = case("z l q", True, n=8)


def test_numpy_has_the_same_values_and_gradients():
    values = [jnp.asarray(v) for v in ONE.values]
    layer = ConeLayer(ONE.structure(), on_failure="nan")

    def loss(*values):
        x, y, s = layer(*values)
        return x.sum() + y.sum() + s.sum()

    outputs, pull_back = cvxlpgd.numpy.ConeLayer(ONE.structure()).vjp(*ONE.values)
    wanted = pull_back(*(np.ones_like(v) for v in outputs))
    for gradients in (
        jax.grad(loss, argnums=(0, 1, 2, 3))(*values),
        jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*values),
    ):
        pairs = zip(gradients, wanted, strict=True)
        assert all(np.allclose(v, w, rtol=1e-4, atol=1e-4) for v, w in pairs)


def test_it_is_mapped_and_takes_scipy_matrices():
    layer = ConeLayer(ONE.structure(), variables=["x"], single=True)
    P, A, b, c = (ONE.data[name] for name in ("P", "A", "b", "c"))
    costs = np.stack([c, 1.1 * c])
    mapped = jax.vmap(lambda c: layer(P, A, b=b, c=c))(costs)
    assert np.allclose(mapped, layer(P, A, b, costs), atol=1e-6)
    assert "ConeLayer" in layer._repr_html_()
    assert repr(layer).startswith("ConeLayer(P (")
    assert layer.info.ok.all()
    with pytest.raises(CvxlpgdError, match="no call of this layer"):
        _ = ConeLayer(ONE.structure()).info
