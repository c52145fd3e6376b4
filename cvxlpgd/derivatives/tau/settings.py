"""What tau, rho and side may be; and what an automatic tau is, for which programs.

An automatic tau is the limit tau -> 0 in closed form, except where that is zero by design. Until
the next vertex a linear program's x does not depend on q, nor its y on b: where q alone is asked
for the part of x would be 0, where b alone is the part of y. Those are seen at a finite tau, and so
is all of an integer program.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from cvxlpgd.checks import is_number, is_one_of
from cvxlpgd.derivatives.path.velocity import is_followed
from cvxlpgd.errors import InvalidOption
from cvxlpgd.program import Data, Point, Structure
from cvxlpgd.schedules import Relative

GROWTHS = 6  # how often an informative tau may grow tenfold
GROWTHS_LINEAR = 2  # and an automatic one for a linear program's costs, of their size at first


def check(tau: Any, rho: Any, side: str, sides: Collection[str]) -> None:
    """Raise InvalidOption for a tau, rho or side out of range; a callable tau is read later."""
    if not callable(tau):
        check_tau(tau)
    check_rho(rho)
    if not is_one_of(side, sides):
        raise InvalidOption(f"side must be one of {', '.join(sides)}, not {side!r}")


def check_rho(rho: Any) -> None:
    """Raise InvalidOption unless rho is a number >= 0."""
    if not (is_number(rho) and 0 <= rho < np.inf):
        raise InvalidOption(f"rho must be a number >= 0, not {rho!r}")


def check_tau(tau: Any) -> None:
    """Raise InvalidOption unless tau is a known word, relative or positive."""
    if isinstance(tau, Relative):
        return
    if isinstance(tau, str):
        if tau not in ("auto", "informative"):
            raise InvalidOption(
                'tau must be "auto", "informative", a number > 0, an array or a callable, not '
                f"{tau!r}"
            )
        return
    try:
        values = np.asarray(tau)
    except (RuntimeError, TypeError, ValueError):  # torch raises the first
        raise InvalidOption(f"tau must be a number > 0, not {tau!r}") from None
    if values.dtype.kind not in "fiu":
        raise InvalidOption(f"tau must be a number > 0, not {tau!r}")
    if not ((values > 0) & np.isfinite(values)).all():
        raise InvalidOption(f"tau must be > 0 and finite everywhere, not {tau!r}")


def read(tau: Any, batch_shape: tuple[int, ...]) -> Any:
    """Tau read if it is a callable; an array spread over the batch."""
    if callable(tau):
        value = tau()
        try:
            check_tau(value)
        except InvalidOption as error:
            raise InvalidOption(f"{error}; it was read from {tau!r}") from None
        tau = value
    check_tau(tau)
    if isinstance(tau, str | Relative) or is_number(tau):
        return tau
    values = np.asarray(tau, dtype=float)
    try:
        return np.broadcast_to(values, batch_shape).copy()
    except ValueError:
        raise InvalidOption(
            f"tau has shape {values.shape}, which does not fit the batch shape {batch_shape}"
        ) from None


def is_automatic(tau: Any) -> bool:
    """Whether tau is "auto"."""
    return isinstance(tau, str) and tau == "auto"


def is_linear(structure: Structure) -> bool:
    """Whether its programs are linear, whatever their values."""
    return not structure.P.size and structure.polyhedral


def is_combinatorial(structure: Structure) -> bool:
    """Whether its solutions do not move with the costs, but jump."""
    return is_linear(structure) or structure.mixed_integer


def has_limit(tau: Any, structure: Structure) -> bool:
    """Whether the limit is taken in closed form, in part at least."""
    return is_automatic(tau) and is_followed(structure)


def separates(tau: Any, structure: Structure) -> bool:
    """Whether parameters of q alone, of b alone and others have a tau each."""
    return is_automatic(tau) and is_linear(structure) and not structure.mixed_integer


def split_cotangent(
    tau: Any, structure: Structure, point_bar: Point, entries: Data
) -> tuple[Point | None, Point | None]:
    """The parts of a cotangent, fields (batch, n), (batch, m) and (batch, m), that are seen at a
    finite tau and in the limit, None where there is none.
    """
    if not has_limit(tau, structure):
        return point_bar, None
    others = len(entries.A) + len(entries.P)
    only_q, only_b = not others + len(entries.b), not others + len(entries.q)
    if not is_linear(structure) or not (only_q or only_b):
        return None, point_bar
    x, y = replace(point_bar, y=point_bar.y * 0.0), replace(point_bar * 0.0, y=point_bar.y)
    far, near = (x, y) if only_q else (y, x)
    if not far.any().any():
        return None, point_bar
    return far, near if near.any().any() else None


def most_growths(tau: Any, structure: Structure) -> int:
    """How often tau may grow tenfold where a difference is nothing but noise."""
    if not isinstance(tau, str):
        return 0
    if not is_automatic(tau):
        return GROWTHS
    return GROWTHS_LINEAR if is_combinatorial(structure) else 0
