"""solver_args: the solver's own options, and the spellings that users of peers know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cvxlpgd.derivatives import LPGD, Derivative, Implicit
from cvxlpgd.errors import InvalidOption

DEFAULT = LPGD()

# cvxpylayers' and diffcp's modes; their "right" perturbs towards +tau
_MODES: dict[str, Implicit | LPGD] = {
    "lsqr": Implicit("lsqr"),
    "lsmr": Implicit("lsmr"),
    "dense": Implicit("dense"),
    "lpgd": LPGD(side="average"),
    "lpgd_right": LPGD(side="lower"),
    "lpgd_left": LPGD(side="upper"),
}
_THREADS = ("n_jobs_forward", "n_jobs_backward")


@dataclass(frozen=True)
class Spelled:
    """solver_args taken apart: a solver's name or None, its options, a derivative or None."""

    solver: str | None
    options: dict[str, Any]
    derivative: Derivative | None


def as_mapping(solver_args: Any) -> dict[str, Any]:
    """solver_args as a new dictionary; InvalidOption unless it is one with names for keys."""
    if solver_args is None:
        return {}
    if not isinstance(solver_args, Mapping):
        raise InvalidOption(f"solver_args must be a dict, not {type(solver_args).__name__}")
    for name in solver_args:
        if not isinstance(name, str):
            raise InvalidOption(f"solver_args has the key {name!r}; names of options are strings")
    return dict(solver_args)


def take_apart(solver_args: Mapping[str, Any]) -> Spelled:
    """Take solver_args apart.

    "solve_method" names the solver, "mode" with "derivative_kwargs" the derivative; numbers of
    threads are accepted and left to the library; all else is an option of the solver.

    Raises
    ------
    InvalidOption
        For an unknown mode, or derivative_kwargs that the mode does not have.
    """
    options = dict(solver_args)
    name = options.pop("solve_method", None)
    if name is not None and not isinstance(name, str):
        raise InvalidOption(f'"solve_method" must be the name of a solver, not {name!r}')
    for threads in _THREADS:
        options.pop(threads, None)
    mode, settings = options.pop("mode", None), options.pop("derivative_kwargs", None)
    if mode is None:
        if settings is not None:
            raise InvalidOption('"derivative_kwargs" needs a "mode" beside it')
        return Spelled(name, options, None)
    if not isinstance(mode, str) or mode not in _MODES:
        raise InvalidOption(f'"mode" must be one of {", ".join(_MODES)}, not {mode!r}')
    try:
        if {"side", "mode"} & set(settings or {}):
            raise TypeError("the mode itself says which side or method it is")
        derivative: Any = replace(_MODES[mode], **dict(settings or {}))
    except TypeError as error:
        raise InvalidOption(f'"derivative_kwargs" of mode {mode!r}: {error}') from None
    return Spelled(name, options, derivative)
