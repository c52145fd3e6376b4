"""One BLAS thread for each solver thread, while several of these run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_held = threading.Lock()


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries that are loaded by now; finding them takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Limit BLAS to one thread, in the whole process.

    Where several threads are inside at once, the first one in sets the limit and takes it back when
    it leaves itself: a limit belongs to the thread that set it, and one that is set while another
    holds would be remembered as what was there before.
    """
    if not _held.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _held.release()


def _outside() -> None:
    """A forked child is in none of its parent's solves."""
    global _held
    _held = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_outside)
