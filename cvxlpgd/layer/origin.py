"""The CVXPY problem that a layer was made from, and what only it can tell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd.canonical.witness import Witness
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.inputs import Batch
from cvxlpgd.program import Solution, Status
from cvxlpgd.solvers.run.arrays import array_in, point_in

LOSSES = 8  # losses whose layers are kept

_witness_lock = threading.Lock()


class Origin:
    """A CVXPY problem, its listed parameters, and the layers that were made of it.

    Parameters
    ----------
    problem : cp.Problem
        Parameters that are not listed are replaced by their values.
    parameters : list of cp.Parameter
    """

    def __init__(self, problem: cp.Problem, parameters: list[cp.Parameter]) -> None:
        self._lists: tuple[cp.Problem, list[cp.Parameter]] | None = problem, parameters
        self.derived: dict[Any, Any] = {}  # what layers of this problem tell, by constraint
        self.layers_of_losses: dict[Any, Any] = {}
        self.witness: Witness | None = Witness(problem, parameters)  # until it has spoken

    @property
    def problem(self) -> cp.Problem:
        """The problem, with parameters that are not listed replaced by their values."""
        return self._own[0]

    @property
    def parameters(self) -> list[cp.Parameter]:
        """The problem's parameters, as listed."""
        return self._own[1]

    @property
    def _own(self) -> tuple[cp.Problem, list[cp.Parameter]]:
        if self._lists is None:
            raise InvalidOption(
                "a copy of a layer does not have the CVXPY problem, which its variables and "
                "constraints belong to: ask the layer that was made from it"
            )
        return self._lists

    def __getstate__(self) -> dict[str, Any]:
        """The witness alone: copies of variables and constraints would be others."""
        return {"_lists": None, "derived": {}, "layers_of_losses": {}, "witness": self.witness}

    def layer_of_loss(self, key: Any, make: Callable[[], Any]) -> Any:
        """The layer that was made for a loss; the last few are kept.

        `key` is kept with it: what it holds is alive, and no other object's identity.
        """
        layer = self.layers_of_losses.get(key)
        if layer is None:
            layer = make()
            keep(self.layers_of_losses, key, layer, LOSSES)
        return layer

    def bear_witness(
        self, compiled: Compiled, batch: Batch, solution: Solution, objective: np.ndarray
    ) -> None:
        """On the first call with a solved sample, evaluate the user's own problem there.

        Raises
        ------
        CvxlpgdError
            Where it has another objective, or a constraint that is violated.
        """
        witness, solved = self.witness, np.flatnonzero(solution.status == Status.SOLVED)
        if witness is None or not len(solved):
            return
        i = int(solved[0])
        own = (array_in(v[i if len(v) > 1 else 0], "numpy") for v in batch.values)
        values = [compiled.whole(k, v) for k, v in enumerate(own)]
        everything = compiled.canonical.everything
        point = point_in(solution.point.pick(np.array([i])), "numpy")
        shapes = [output.shape for output in everything.outputs]
        variables = [
            v.reshape(shape) for v, shape in zip(everything.values(point), shapes, strict=True)
        ]
        with _witness_lock:
            witness.check(values, variables, float(objective[i]), _residual(solution, i))
        self.witness = None


def _residual(solution: Solution, i: int) -> float:
    """The relative KKT residual of a sample; 0 where it is unknown."""
    residuals = solution.residuals
    return 0.0 if residuals is None else float(np.nan_to_num(np.asarray(residuals.largest)[i]))


def keep(store: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Put a value in, as the newest, and let go of the oldest where there are more than `most`."""
    store.pop(key, None)
    store[key] = value
    for old in list(store)[:-most]:
        store.pop(old, None)
