"""HiGHS objects that say nothing, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from cvxlpgd.errors import InvalidOption


@cache
def silent_class() -> Any:
    """HiGHS' class; its newer constructors say who they are before an option could forbid it."""
    import highspy

    class Silent(highspy.Highs):
        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            highspy.Highs.enableCallbacks(self)

    return Silent


def set_options(solver: Any, settings: Mapping[str, Any]) -> None:
    """Set options, silence first; InvalidOption for a value that HiGHS does not take."""
    solver.setOptionValue("output_flag", False)
    for name, value in sorted(settings.items(), key=lambda item: item[0] == "output_flag"):
        try:
            status = solver.setOptionValue(name, value)
        except TypeError as error:
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}: {error}") from None
        if str(status).endswith("kError"):
            raise InvalidOption(f"HIGHS: {name} cannot be {value!r}")


@lru_cache(maxsize=64)
def check_options(settings: tuple[tuple[str, Any], ...]) -> None:
    """A wrong value is an error of the call, not of a sample."""
    set_options(silent_class()(), dict(settings))
