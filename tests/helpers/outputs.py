"""What a page says that a block prints, against what it prints."""

from __future__ import annotations

import re

NUMBER = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"


def matches(expected: str, printed: str) -> bool:
    """Whether the words are the same, and numbers up to one of the last digit shown.

    `...` stands for anything, and blanks count as one.
    """
    wanted, numbers = _pattern(expected)
    match = re.fullmatch(wanted, " ".join(printed.split()), re.DOTALL)
    return match is not None and all(
        abs(float(group) - float(number)) <= 1.001 * _last_digit(number)
        for number, group in zip(numbers, match.groups(), strict=True)
    )


def _pattern(expected: str) -> tuple[str, list[str]]:
    """A regular expression with a group for each number, and the numbers."""
    pieces, numbers = [], []
    for piece in re.split(rf"(\.\.\.|(?<![\w.]){NUMBER})", " ".join(expected.split())):
        if piece == "...":
            pieces.append(".*?")
        elif re.fullmatch(NUMBER, piece):
            pieces.append(f"({NUMBER})")
            numbers.append(piece)
        else:
            pieces.append(re.escape(piece))
    return "".join(pieces), numbers


def _last_digit(number: str) -> float:
    """The unit of the last digit that is shown; an integer is exact."""
    mantissa, _, exponent = number.lower().partition("e")
    _, point, decimals = mantissa.partition(".")
    if not point and not exponent:
        return 0.0
    return 10.0 ** (int(exponent or 0) - len(decimals))
