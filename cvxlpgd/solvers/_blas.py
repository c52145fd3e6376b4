"""One BLAS thread for each solver thread, while several of these run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries that are loaded by now; finding them takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Limit BLAS to one thread until the last of the callers that are inside has left.

    The limit is the process's: the first one in sets it and the last one out takes it back,
    whichever threads they are.
    """
    global _inside, _limit
    with _lock:
        _inside += 1
        if _inside == 1:
            _limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


def _outside() -> None:
    """A forked child is in none of its parent's solves."""
    global _lock, _inside
    if _inside:
        _limit.restore_original_limits()
    _lock, _inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_outside)
