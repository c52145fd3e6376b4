"""What a solver made of a batch of programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cvxlpgd.program.data import Point
from cvxlpgd.program.pattern import Array
from cvxlpgd.program.programs import Residuals


class Status(StrEnum):
    """What became of a sample."""

    SOLVED = "solved"
    INACCURATE = "inaccurate"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    FAILED = "failed"


RESIDUALS = ("primal", "dual", "gap", "own")
USABLE = (Status.SOLVED, Status.INACCURATE)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver made of a batch of programs.

    Parameters
    ----------
    point : Point
        NaN where a sample has none.
    status : object array (batch,) of Status
    iterations, seconds : arrays (batch,)
    messages : tuple of str (batch,)
        The solver's own words, empty where it had none.
    residuals : Residuals or None
        Filled in by the library, not by the solver.
    workspace : object array (batch,) or None
        What the solver keeps for each sample's next solve; nobody else looks inside. Pickles and
        copies leave it out.
    setups : array (batch,) or None
        How often matrices were set up (factored, ...) for the sample; None where a solver does not
        say.
    solvers : object array (batch,) or None
        The name of the solver of each sample, where several were asked.
    gap : array (batch,) or None
        |objective - bound| / (1 + |objective|) of mixed-integer programs, where a solver tells.
    """

    point: Point
    status: np.ndarray
    iterations: np.ndarray
    seconds: np.ndarray
    messages: tuple[str, ...]
    residuals: Residuals | None = None
    workspace: np.ndarray | None = None
    setups: np.ndarray | None = None
    solvers: np.ndarray | None = None
    gap: np.ndarray | None = None

    @property
    def ok(self) -> np.ndarray:
        """Which samples have a usable point, bool (batch,)."""
        first, second = USABLE
        return np.asarray((self.status == first) | (self.status == second), dtype=bool)

    def take(self, index: np.ndarray) -> Solution:
        """These samples' solutions, as starts for another batch."""
        return replace(
            self,
            point=self.point.pick(index),
            status=self.status[index],
            iterations=self.iterations[index],
            seconds=self.seconds[index],
            messages=tuple(self.messages[i] for i in np.arange(len(self.messages))[index]),
            residuals=None,
            **{k: v if v is None else v[index] for k, v in self._optional()},
        )

    def _optional(self) -> list[tuple[str, np.ndarray | None]]:
        """The fields of one entry for each sample that may be None."""
        return [(k, getattr(self, k)) for k in ("workspace", "setups", "solvers", "gap")]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"workspace": None}

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """The solutions of a batch from those of its pieces, without residuals."""
        fields = ("x", "y", "s")

        def join(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if any(v is None for v in values) else np.concatenate(values)

        return cls(
            Point(*(np.concatenate([getattr(p.point, k) for p in parts]) for k in fields)),
            join("status"),
            join("iterations"),
            join("seconds"),
            sum((p.messages for p in parts), ()),
            workspace=join("workspace"),
            setups=join("setups"),
            solvers=join("solvers"),
            gap=join("gap"),
        )

    def replaced(self, index: np.ndarray, other: Solution, better: np.ndarray) -> Solution:
        """The same with the samples at `index` taken from `other`, where that is `better`."""
        source = np.arange(len(self.messages))
        source[index[better]] = len(source) + np.flatnonzero(better)

        def join(mine: Array, others: Array) -> Array:
            return array_namespace(mine).concat([mine, others])[source]

        messages = self.messages + other.messages
        r, t = self.residuals, other.residuals
        return replace(
            self,
            point=Point(*(join(v, getattr(other.point, k)) for k, v in self.point.items())),
            status=np.concatenate([self.status, other.status])[source],
            iterations=join(self.iterations, other.iterations),
            seconds=join(self.seconds, other.seconds),
            messages=tuple(messages[i] for i in source),
            residuals=r and t and Residuals(*(
                join(getattr(r, k), getattr(t, k)) for k in RESIDUALS
            )),
            **{
                k: None if (w := getattr(other, k)) is None or v is None
                else np.concatenate([v, w])[source]
                for k, v in self._optional()
            },
        )  # fmt: skip

    def scatter(self, index: np.ndarray, batch: int, messages: tuple[str, ...]) -> Solution:
        """A solution of `batch` samples, these at `index`, the others failed with `messages`."""
        if len(index) == batch:
            return self
        xp = array_namespace(self.point.x)

        def spread(v: Array) -> Array:
            out = xp.full((batch, *v.shape[1:]), xp.nan, dtype=v.dtype, device=v.device)
            out[index] = v
            return out

        def place(v: np.ndarray | None, nothing: object) -> np.ndarray | None:
            if v is None:
                return None
            out = np.full(batch, nothing, dtype=v.dtype)
            out[index] = v
            return out

        status = np.full(batch, Status.FAILED, dtype=object)
        status[index] = self.status
        texts = list(messages)
        for position, text in zip(index, self.messages, strict=True):
            texts[position] = text
        r = self.residuals
        return replace(
            self,
            point=Point(spread(self.point.x), spread(self.point.y), spread(self.point.s)),
            status=status,
            iterations=spread(self.iterations),
            seconds=spread(self.seconds),
            messages=tuple(texts),
            residuals=r and Residuals(*(spread(getattr(r, k)) for k in RESIDUALS)),
            workspace=place(self.workspace, None),
            setups=place(self.setups, 0.0),
            solvers=place(self.solvers, ""),
            gap=place(self.gap, np.nan),
        )
