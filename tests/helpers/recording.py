"""A solver that writes down which process solved, for tests that start worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution

PATIENCE = 200.0  # seconds that a piece waits for the others' processes


@dataclass(frozen=True)
class Recording:
    """`inner`; each piece leaves a file named for its process, and waits for `together` of them."""

    inner: Any
    folder: str
    together: int = 1
    extra: Any = None  # whatever an option may be
    leaves: Any = None  # makes what is left in the workspace, where that is not the inner one's
    name = "RECORDING"
    requires = ("numpy",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = False
    arrays = "numpy"

    @property
    def accuracy(self) -> float:
        return self.inner.accuracy

    def with_options(self, options: Mapping[str, Any]) -> Recording:
        return replace(self, inner=self.inner.with_options(options))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        folder, until = Path(self.folder), time.monotonic() + PATIENCE
        (folder / str(os.getpid())).touch()
        while len(pids(folder)) < self.together and time.monotonic() < until:
            time.sleep(0.01)
        solution: Solution = self.inner.solve(program, start)
        if self.leaves is None:
            return solution
        workspace = np.empty(program.batch, dtype=object)
        workspace[:] = [self.leaves() for _ in range(program.batch)]
        return solution.change(workspace=workspace)


def pids(folder: Path) -> set[int]:
    """The processes that have solved."""
    return {int(path.name) for path in folder.iterdir()}
