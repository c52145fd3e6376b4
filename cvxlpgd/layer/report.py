"""What the backward passes of a call report."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cvxlpgd.derivatives import Info


@dataclass(frozen=True, eq=False)
class Report:
    """What a call's backward passes report, arrays of the batch shape; see `Record`."""

    tau: np.ndarray
    method: np.ndarray
    regular: np.ndarray
    kink: np.ndarray
    gradient_error: np.ndarray
    breakpoints: np.ndarray
    retries: np.ndarray
    side: np.ndarray
    informative: np.ndarray
    differentiated: np.ndarray
    setups: np.ndarray
    resolve_iterations: np.ndarray

    @classmethod
    def none(cls, shape: tuple[int, ...], setups: np.ndarray | None) -> Report:
        """The report before any backward pass; the forward pass had these set-ups, (batch,)."""
        return cls(
            tau=np.full(shape, np.nan), method=np.full(shape, "", dtype="<U20"),
            regular=np.full(shape, None), kink=np.zeros(shape),
            gradient_error=np.full(shape, np.nan), breakpoints=np.full((*shape, 2), np.nan),
            retries=np.zeros(shape, dtype=int), side=np.full(shape, "", dtype="<U7"),
            informative=np.zeros(shape, dtype=bool), differentiated=np.ones(shape, dtype=bool),
            setups=np.zeros(shape) if setups is None else setups.reshape(shape),
            resolve_iterations=np.zeros(shape),
        )  # fmt: skip

    def after(self, places: np.ndarray, info: Info, **more: np.ndarray) -> Report:
        """The same after a derivative of the samples at these places of the flattened batch.

        `more` are other fields, (selection,).
        """
        values = {name: getattr(info, name) for name in _OF_INFO} | more
        values |= {"differentiated": info.ok, "resolve_iterations": info.iterations}
        values["setups"] = self.setups.reshape(-1)[places] + info.setups
        return replace(self, **{k: self._change(k, places, v) for k, v in values.items()})

    def _change(self, name: str, places: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A field with other values (selection, ...) at these places."""
        array: np.ndarray = getattr(self, name)
        flat = array.reshape(-1, *values.shape[1:])
        if len(places) == len(flat) and values.dtype == flat.dtype:
            return values.reshape(array.shape)
        flat = flat.copy()
        flat[places] = values
        return flat.reshape(array.shape)


_OF_INFO = ("tau", "retries", "side", "method", "regular", "kink", "breakpoints")


class Reports:
    """The newest report of a call: backward passes replace it, whichever threads run them."""

    def __init__(self, shape: tuple[int, ...], setups: np.ndarray | None) -> None:
        self.shape, self.setups = shape, setups
        self.latest: Report | None = None

    @property
    def newest(self) -> Report:
        """The newest report, or that of no backward pass."""
        if self.latest is None:
            with _reports_lock:  # a backward pass may have stored its own a moment ago
                if self.latest is None:
                    self.latest = Report.none(self.shape, self.setups)
        return self.latest

    def update(self, change: Callable[[Report], Report]) -> None:
        """Replace the newest one by what `change` makes of it."""
        with _reports_lock:
            self.latest = change(self.newest)


_reports_lock = threading.RLock()  # an update reads the newest
