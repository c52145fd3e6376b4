"""What arguments may be, asked in one place: anything at all may be handed in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from cvxlpgd.errors import InvalidOption


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python or NumPy; True and False are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether it is a number > 0, and finite."""
    return is_number(value) and bool(0 < value < np.inf)


def is_one_of(value: Any, words: Collection[str]) -> bool:
    """Whether it is one of these words; arrays and unhashable things are not."""
    return isinstance(value, str) and value in words


def check_flag(name: str, value: Any) -> None:
    """Raise InvalidOption unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidOption(f"{name} must be True or False, not {value!r}")
