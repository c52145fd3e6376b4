"""JAX with 32 and with 64 bits; a test that asks for none of these has 32."""

from __future__ import annotations

import pytest

from tests.helpers.frameworks import jax_with


@pytest.fixture(params=[False, True], ids=["32 bits", "64 bits"])
def x64(request):
    with jax_with(x64=request.param):
        yield request.param


@pytest.fixture
def bits64():
    with jax_with(x64=True):
        yield
