"""How an executor loses what it is given, in words."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any

from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.guard import one_line

# Of a worker's death. TimeoutError, pebble's ProcessExpired and a lost connection are of OSError;
# Dask's KilledWorker is an exception of its own.
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
    if replaced and is_loss(error):
        code = getattr(error, "exitcode", None)
        return f"crashed: twice its worker process died, with exit code {code}"
    words = f"the executor lost it ({one_line(error)})"
    if type(solver).__module__ == "__main__":
        return (
            f"{words}; {type(solver).__name__} is defined in __main__, which its workers may not "
            "find: move it into a module"
        )
    if isinstance(error, TypeError | AttributeError) or type(error).__name__ == "PicklingError":
        return (
            f"{words}; workers are sent the solver with its options, {solver!r}, by pickle: use "
            "values and functions of a module, or an executor of threads, which is sent nothing"
        )
    return f"{words}; give the layer a new one, or executor=Processes(), which replaces its workers"
