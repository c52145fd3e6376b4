"""The options of a layer, checked once and passed on as one value."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from cvxlpgd.checks import check_flag, is_number, is_one_of
from cvxlpgd.derivatives import Derivative, check_derivative
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer.spellings import DEFAULT, as_mapping
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.run.processes import Processes


@dataclass(frozen=True, eq=False)
class Settings:
    """How a layer canonicalizes, solves and differentiates; see the adapters for each of them.

    Raises
    ------
    InvalidOption
        For a value that is not what it must be.
    """

    solver: str | Solver | None = None
    gp: bool = False
    verbose: bool = False
    canon_backend: str | None = None
    solver_args: Mapping[str, Any] | None = None
    derivative: Derivative = DEFAULT
    on_failure: str = "raise"
    fallback: str | Solver | None = None
    time_limit: float | None = None
    executor: Executor | Processes | None = None
    always: dict[str, Any] = field(init=False, repr=False)  # options of every solver that is asked
    options: dict[str, Any] = field(init=False, repr=False)  # solver_args, a copy

    def __post_init__(self) -> None:
        check_derivative("derivative", self.derivative)
        check_flag("gp", self.gp)
        check_flag("verbose", self.verbose)
        name, executor = self.canon_backend, self.executor
        if name is not None and not (isinstance(name, str) and name):
            raise InvalidOption(f"canon_backend must be None or a name, not {name!r}")
        if executor is not None and not isinstance(executor, Executor | Processes):
            raise InvalidOption(
                f"executor must be a concurrent.futures.Executor or Processes(), not {executor!r}"
            )
        if not is_one_of(self.on_failure, ("raise", "nan")):
            raise InvalidOption(f'on_failure must be "raise" or "nan", not {self.on_failure!r}')
        always: dict[str, Any] = {"verbose": True} if self.verbose else {}
        if self.time_limit is not None:
            always["time_limit"] = _seconds(self.time_limit)
        object.__setattr__(self, "always", always)
        object.__setattr__(self, "options", as_mapping(self.solver_args))


def _seconds(time_limit: Any) -> float:
    """A time limit in seconds; InvalidOption unless it is a number > 0."""
    if is_number(time_limit) and time_limit > 0:
        return float(time_limit)
    raise InvalidOption(f"time_limit must be a number of seconds > 0, not {time_limit!r}")
