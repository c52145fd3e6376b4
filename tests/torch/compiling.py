"""What tests of compiled layers share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cvxlpgd.torch import _operators

MARKS = [
    # torch's own, when it first traces
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]


def compiled(function, backend="aot_eager", **options):
    """As one graph."""
    return torch.compile(function, fullgraph=True, backend=backend, **options)


@contextmanager
def alone() -> Iterator[None]:
    """Nothing that another test compiled, and nothing left over."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    gc.collect()
    assert _operators._runs == {}
