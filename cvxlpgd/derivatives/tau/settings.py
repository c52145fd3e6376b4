"""The settings that perturbation methods share, checked in one place."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from cvxlpgd.checks import is_number, is_one_of
from cvxlpgd.errors import InvalidOption
from cvxlpgd.schedules import Relative


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
        read = tau()
        try:
            check_tau(read)
        except InvalidOption as error:
            raise InvalidOption(f"{error}; it was read from {tau!r}") from None
        tau = read
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
