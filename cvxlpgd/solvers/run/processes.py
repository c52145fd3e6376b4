"""Worker processes that may die or hang, kept by pebble (https://pebble.readthedocs.io)."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from cvxlpgd.errors import InvalidOption, SolverNotInstalled
from cvxlpgd.program.threads import workers

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Worker processes for `executor=`, replaced when a solver crashes or hangs in one.

    A sample whose worker dies, or takes longer than its `time_limit` plus the grace, is tried once
    more, alone. If that fails too it is a failed sample, and the other samples of the batch are not
    affected. The first call starts the workers. All layers that ask for the same number of workers
    share them. They end with the program, or by `close()`. A script that uses them needs
    `if __name__ == "__main__":`, because every worker imports the script.

    Parameters
    ----------
    workers : int, optional
        How many; as many as there are CPUs to run on, if not given.
    grace : float
        Seconds beyond the time limits of a worker's samples until it counts as hung. Without a
        `time_limit` nothing counts as hung.

    Raises
    ------
    SolverNotInstalled
        Without pebble.
    InvalidOption
        For a number out of range.
    """

    workers: int | None = None
    grace: float = 10.0

    def __post_init__(self) -> None:
        if find_spec("pebble") is None:
            raise SolverNotInstalled("Processes() needs pebble; pip install pebble")
        workers, grace = self.workers, self.grace
        if workers is not None and not (isinstance(workers, int) and workers > 0):
            raise InvalidOption(f"workers must be a whole number > 0, not {workers!r}")
        if not (isinstance(grace, int | float) and grace > 0):
            raise InvalidOption(f"grace must be a number of seconds > 0, not {grace!r}")

    @property
    def count(self) -> int:
        """How many workers there are."""
        return self.workers or workers()

    def submit(self, seconds: float | None, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """The future of a call in a worker, which is ended where it takes more than `seconds`.

        It raises TimeoutError then, and an OSError or BrokenExecutor where the worker died.
        """
        try:
            pool = _pool(self.count)
            future = pool.schedule(call, arguments, timeout=seconds)
        except RuntimeError:  # the pool broke, or another thread closed it, a moment ago
            pool = _pool(self.count)
            future = pool.schedule(call, arguments, timeout=seconds)
        _waiting.setdefault(pool, WeakSet()).add(future)
        if not pool.active:  # another thread closed it meanwhile
            future.cancel()
        return future

    def close(self) -> None:
        """End the workers; the next call starts new ones, and so does one that another thread has
        under way.
        """
        with _making:
            pool = _pools.pop(self.count, None)
        if pool is not None:
            _end(pool)


_pools: dict[int, Any] = {}
_waiting: WeakKeyDictionary[Any, WeakSet[Future[Any]]] = WeakKeyDictionary()  # by pool
_making = threading.Lock()


def _pool(workers: int) -> Any:
    """The pool of so many workers, made when first needed, and again after it broke."""
    from pebble import ProcessPool

    with _making:
        pool = _pools.get(workers)
        if pool is None or not pool.active:
            if pool is not None:
                _end(pool)
            pool = _pools[workers] = ProcessPool(workers, context=_context())
        return pool


def _context() -> Any:
    """How workers are started: not by a fork of this process, whose threads may hold locks.

    A fork server imports the library once, so that a worker is replaced within milliseconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cvxlpgd.solvers"])
    return context


def _end(pool: Any) -> None:
    """End a pool's workers, whatever they are doing, wait for that, and tell those that wait."""
    pool.stop()
    pool.join()
    for future in list(_waiting.pop(pool, ())):  # which a stopped pool leaves as they are
        future.cancel()


@atexit.register
def _end_all() -> None:
    while _pools:
        _end(_pools.popitem()[1])


def _forget() -> None:
    """A forked child has the pools' objects but neither their threads nor their processes."""
    _pools.clear()
    _waiting.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
