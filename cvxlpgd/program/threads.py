"""The pool of threads that batches are shared out to, and one BLAS thread for each of them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

ALONE = 4096  # numbers of a matrix up to which BLAS multiplies vectors in one thread

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


def one_thread_for(numbers: int) -> AbstractContextManager[None]:
    """One BLAS thread for a product with a matrix of so many numbers, if BLAS would share it out:
    the last bits of the product depend on how many threads there are.
    """
    return one_thread_each() if numbers > ALONE else nullcontext()


def share_out(work: deque[Any], do: Callable[[Any], None]) -> None:
    """Empty `work` in this thread and the pool's, with one BLAS thread each."""

    def drain() -> None:
        while work:
            try:
                piece = work.popleft()
            except IndexError:  # another thread was faster
                return
            do(piece)

    with one_thread_each():
        others = [pool().submit(drain) for _ in range(min(workers(), len(work)) - 1)]
        try:
            drain()
        finally:
            work.clear()  # after Ctrl-C the others stop too
            for other in others:
                other.result()


def workers() -> int:
    """Threads that run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads: ThreadPoolExecutor | None = None


def pool() -> ThreadPoolExecutor:
    """One pool for the process, made when first needed, joined by Python at exit."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(workers(), thread_name_prefix="cvxlpgd")
    return _threads


def _outside() -> None:
    """A forked child is in none of its parent's solves, and has none of its threads."""
    global _held, _threads
    _held, _threads = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_outside)
