"""A pool of solutions that losses compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer import Layer
from cvxlpgd.losses.protocol import ComputingLayer, check_computing
from cvxlpgd.losses.scores import say_infeasible
from cvxlpgd.values.linear import (
    Terms,
    as_points,
    as_rows,
    entries_of_cost,
    linear_terms,
    require_linear_cost,
)

SAME = 1e-6  # of a column's largest entry: solutions that differ by less are one
LEAST = 1e-3  # of the largest of all: a column whose entries are smaller holds a solver's noise


class SolutionPool:
    """Solutions of a layer, each once, that losses compare with.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the objective alone and linearly. It returns all
        variables of the objective.
    solutions : array (*axes, *shape), or list of one for each returned variable
        Feasible values, such as the layer's own solutions for the training costs; others are told
        by InfeasibleTargetWarning.

    Raises
    ------
    InvalidInput
        For a pool that is empty, or values that a variable cannot have.
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(self, layer: ComputingLayer, solutions: Any) -> None:
        check_computing(layer)
        require_linear_cost(layer._layer, "a pool of solutions")
        self._layer: Layer = layer._layer
        shapes, entries = self._layer.shapes, entries_of_cost(self._layer)
        self.solutions: tuple[np.ndarray, ...] = tuple(np.zeros((0, *shape)) for shape in shapes)
        self._terms = Terms(np.zeros((0, entries)), np.zeros(0))
        self._scale = np.zeros(entries + 1)  # the columns' largest entries
        self._places: set[bytes] = set()  # on a grid of that scale, of those that are in
        self.extend(layer._constants(solutions, "solutions"))
        if not len(self):
            raise InvalidInput(
                "the pool is empty: begin with solutions, such as layer(true_costs) of training"
            )
        rows = [v.reshape(len(self), -1) for v in self.solutions]
        points = as_points(self._layer, rows)
        say_infeasible(self._layer, points, "solutions of the pool", "number")

    def __len__(self) -> int:
        return len(self._terms)

    def __repr__(self) -> str:
        return f"SolutionPool of {len(self)}"

    def is_of(self, layer: ComputingLayer) -> bool:
        """Whether its solutions are those of this layer."""
        return self._layer is layer._layer

    @property
    def terms(self) -> Terms:
        """Their objectives, as functions of the cost."""
        return self._terms

    def extend(self, solutions: Sequence[np.ndarray]) -> None:
        """Add those that are new; ones with NaN, of failed solves, are left out.

        Parameters
        ----------
        solutions : arrays (*axes, *shape), one for each returned variable
        """
        rows = as_rows(self._layer, solutions, "solution")
        finite = np.all([np.isfinite(v).all(axis=1) for v in rows], axis=0)
        if not finite.any():
            return
        rows = [v[finite] for v in rows]
        terms = linear_terms(self._layer, as_points(self._layer, rows))
        keep = self._first_of_each(terms)
        if not len(keep):
            return
        self._terms = Terms(
            np.concatenate([self._terms.features, terms.features[keep]]),
            np.concatenate([self._terms.rest, terms.rest[keep]]),
        )
        self.solutions = tuple(
            np.concatenate([old, v[keep].reshape(-1, *old.shape[1:])])
            for old, v in zip(self.solutions, rows, strict=True)
        )

    def _first_of_each(self, terms: Terms) -> np.ndarray:
        """Which terms differ from all before them, and from those of the pool."""
        known, new = self._columns(self._terms), self._columns(terms)
        whole = np.abs(np.concatenate([known, new])).max(axis=0)
        whole[:-1] = np.maximum(whole[:-1], LEAST * whole[:-1].max(initial=0.0))
        whole[-1] += SAME * float(np.abs(np.append(self._terms.rest, terms.rest)).max())
        unit = SAME * np.where(whole > 0, whole, 1.0)
        known, new = known / unit, new / unit
        if (whole != self._scale).any():
            self._scale, self._places = whole, set(map(_place, known))
        firsts: dict[bytes, int] = {}
        for i, row in enumerate(new):
            firsts.setdefault(_place(row), i)
        fresh = [i for place, i in firsts.items() if place not in self._places]
        self._places |= firsts.keys()
        if not fresh:
            return np.zeros(0, dtype=np.int64)
        # two that are nearly the same may be on both sides of a line of the grid
        apart = cdist(new[fresh], np.concatenate([known, new[fresh]]), "chebyshev") > 1.0
        own = apart[:, len(known) :] | ~np.tri(len(fresh), k=-1, dtype=bool)
        return np.array(fresh)[apart[:, : len(known)].all(axis=1) & own.all(axis=1)]

    def _columns(self, terms: Terms) -> np.ndarray:
        """φ, and r without what all have in common."""
        first = self._terms if len(self) else terms
        common = first.rest[0] if len(first) else 0.0
        return np.column_stack([terms.features, terms.rest - common])


def _place(row: np.ndarray) -> bytes:
    """The nearest point of the grid of integers."""
    return (np.round(row) + 0.0).tobytes()  # + 0.0: -0 is 0
