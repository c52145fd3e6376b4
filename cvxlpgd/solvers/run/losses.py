"""How an executor loses what it is given, in words."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any

from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.guard import one_line
from cvxlpgd.solvers.run.ladder import is_plain

# What a worker's death is. TimeoutError, pebble's ProcessExpired and a lost connection are of
# OSError; Dask's KilledWorker is an exception of its own.
_LOSSES = (BrokenExecutor, OSError, CancelledError)


def is_loss(result: Any) -> bool:
    """Whether a worker was lost with its task, so that another one may do it."""
    return isinstance(result, _LOSSES) or type(result).__name__ == "KilledWorker"


def message_of(error: Any, solver: Solver, replaced: bool) -> str:
    """What is said of a sample for which the executor returned this error, also when it was alone.

    `replaced` says whether the executor replaces its workers: `Processes`.
    """
    if replaced and isinstance(error, TimeoutError):
        return "hung: twice its worker was ended, some time beyond the time limit"
    words = f"the executor lost it ({one_line(error)})"
    if not is_loss(error):
        if _is_of_pickle(error):
            return (
                f"{words}; workers are sent the solver with its options, {solver!r}, by pickle: "
                "use values and functions of a module, or threads, which are sent nothing"
            )
        return f"{words}; give the layer an executor that runs"
    if replaced:
        code = getattr(error, "exitcode", None)
        words = f"crashed: twice its worker process died, with exit code {code}"
    kind = type(_innermost(solver))
    if kind.__module__ == "__main__":
        return f"{words}; workers may not find {kind.__name__} in __main__: move it into a module"
    if replaced:
        return words
    return f"{words}; give the layer a new one, or executor=Processes(), which replaces its workers"


def _is_of_pickle(error: Any) -> bool:
    """Whether it is what pickle raises at what it cannot send."""
    return isinstance(error, TypeError | AttributeError) or type(error).__name__ == "PicklingError"


def _innermost(solver: Solver) -> Solver:
    """The solver that is asked first, without those around it."""
    inner: Any = solver
    while not is_plain(inner):
        inner = inner.solver
    return inner
