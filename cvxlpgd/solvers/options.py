"""The options of a solver: names, defaults, tolerances, and the spellings that all solvers share.

"eps" sets all tolerances, "time_limit" is in seconds; "verbose" is the solver's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidOption

COUNTS = frozenset({"max_iters", "max_iter", "iter_limit"})  # of iterations, as solvers call it


@dataclass(frozen=True)
class Options:
    """The options that a solver knows."""

    text: str  # its own names of all of them, with spaces between
    defaults: Mapping[str, Any]  # where ours are not the solver's own, and of all tolerances
    tolerances: tuple[str, ...]  # those that "eps" sets
    time_limit: str | None = None  # its name of "time_limit", where it has one in seconds
    # the texts that an option may be, for options of the adapter itself
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.text.split())


@dataclass(frozen=True, init=False)
class Configured:
    """A solver with options: a frozen value, whose class declares its name and what it knows.

        @dataclass(frozen=True, init=False)
        class Simplex(Configured):
            name = "SIMPLEX"
            known = Options("tol max_iter verbose", {"tol": 1e-9}, ("tol",))

    Raises
    ------
    InvalidOption
        At construction, for an option that it does not know, or a value that cannot be.
    """

    options: tuple[tuple[str, Any], ...]
    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    known: ClassVar[Options]
    integer: ClassVar[bool | str] = False
    arrays = "numpy"

    def __init__(self, **options: Any) -> None:
        known, name = self.known, self.name
        own = checked_options(name, options, known.names, known.tolerances, known.time_limit)
        for option, choices in known.choices.items():
            if own.get(option, choices[0]) not in choices:
                words = " or ".join(f'"{choice}"' for choice in choices)
                raise InvalidOption(f"{name}: {option} must be {words}, not {own[option]!r}")
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """This solver with more options."""
        return type(self)(**(dict(self.options) | dict(options)))

    @property
    def settings(self) -> dict[str, Any]:
        """The options as the solver gets them: ours, and over them the given ones."""
        return dict(self.known.defaults) | dict(self.options)

    @property
    def accuracy(self) -> float:
        """The largest tolerance that "eps" sets."""
        settings = self.settings
        return float(max(settings[name] for name in self.known.tolerances))


def set_fields(name: str, settings: Any, options: Mapping[str, Any]) -> None:
    """Set fields of a solver's settings; InvalidOption for a value that it does not take."""
    for option, value in options.items():
        try:
            setattr(settings, option, value)
        except (OverflowError, TypeError) as error:
            raise InvalidOption(f"{name}: {option} cannot be {value!r}: {error}") from None


def checked_options(
    name: str,
    given: Mapping[str, Any],
    known: frozenset[str],
    tolerances: tuple[str, ...],
    time_limit: str | None,
) -> dict[str, Any]:
    """The solver's own options of a mapping that may also say "eps" and "time_limit".

    The solver is called `name` in messages. It has the options `known`, of which "eps" sets
    `tolerances`, and calls "time_limit" by the name `time_limit`; None if it has none.

    Raises
    ------
    InvalidOption
        For an option that is not in `known`, a value that is neither number nor text, or a time
        limit where the solver has none.
    """
    options = dict(given)
    if "eps" in options and "eps" not in known:
        eps = options.pop("eps")
        options = dict.fromkeys(tolerances, eps) | options
    limit = options.pop("time_limit", None) if "time_limit" not in known else None
    if limit is not None:
        if time_limit is None:
            raise InvalidOption(f"{name} has no time limit; use a solver that has one")
        options[time_limit] = limit
    unknown = sorted(map(str, options.keys() - known))
    if unknown:
        close = [match for word in unknown for match in get_close_matches(word, known)]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise InvalidOption(
            f"{name} has no option {', '.join(map(repr, unknown))}; {hint}"
            f"it has eps and {', '.join(sorted(known))}"
        )
    for tolerance in tolerances:
        value = options.get(tolerance, 1.0)
        if not is_positive(value):
            raise InvalidOption(f"{name}: {tolerance} must be a positive number, not {value!r}")
    for option in COUNTS & options.keys():
        value = options[option]
        if isinstance(value, int | float | np.number) and not value >= 1:
            raise InvalidOption(f"{name}: {option} must be at least 1, not {value!r}")
    for option, value in options.items():
        if isinstance(value, list | dict | set | np.ndarray):
            raise InvalidOption(f"{name}: {option} must be a number or a text, not {value!r}")
    return options
