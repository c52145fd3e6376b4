"""A layer with |x|² added to its linear objective, by its own solver."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxlpgd.checks import is_number, is_positive
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InaccurateSolutionWarning, InvalidOption, InvalidProblem
from cvxlpgd.layer.failure import warn
from cvxlpgd.losses.protocol import ComputingLayer
from cvxlpgd.losses.scores import Scores, rows_of, targets_of
from cvxlpgd.losses.smoothed import Smoothed
from cvxlpgd.values.linear import cost_cotangent
from cvxlpgd.values.prices import Prices
from cvxlpgd.values.regularized import Regularized as Solutions
from cvxlpgd.values.regularized import regularized


class Regularized(Smoothed):
    """A layer with |x|² added to its linear objective, over the hull of its solutions.

        x(c) = argmin over the hull  f(x; c) + (weight/2) |x|²

    It is unique, changes continuously with the cost, and has an exact gradient, at a kink that of
    one of its sides. Solutions are found by the layer's own solver alone, so also of integer
    programs (Frank and Wolfe's method, fully corrective). Of programs without integers the same
    comes cheaper with the quadratic term in the objective, and with constraints that are not
    linear that is the only way. Variables shall be of one size, up to 1e5, where a bound that is
    never active counts. A regularized layer stands for the layer in `FenchelYoung`.

    Dalle, Baty, Bouvier, Parmentier, "Learning with combinatorial optimization layers: a
    probabilistic approach", arXiv 2207.13513; Blondel, Martins, Niculae, JMLR 2020.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the linear objective alone, and with linear
        constraints. It returns all variables of the objective.
    weight : float
        > 0, in the costs' units over the variables'. Larger ones blur more.
    rounds : int
        A solution takes at most so many solves.
    tol : float
        > 0: by how much the objective may be above its least, relative to how much its two terms
        change from x to the solution of the last round.

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    __module__ = "cvxlpgd.losses"

    def __init__(
        self, layer: ComputingLayer, weight: float = 1.0, rounds: int = 200, tol: float = 1e-6
    ) -> None:
        Smoothed.__init__(self, layer)
        for name, value in (("weight", weight), ("tol", tol)):
            if not is_positive(value):
                raise InvalidOption(f"{name} must be a number > 0, not {value!r}")
        if not (is_number(rounds) and isinstance(rounds, int | np.integer) and rounds >= 1):
            raise InvalidOption(f"rounds must be an integer >= 1, not {rounds!r}")
        self.weight, self.rounds, self.tol = weight, rounds, tol
        self._prices = Prices.of(self._layer, "Regularized")
        if any(not isinstance(cone, Zero | NonNeg) for cone in self._layer.structure.cones):
            raise InvalidProblem(
                "Regularized is for linear constraints, whose solutions have corners; write the "
                "quadratic term into the objective: (weight / 2) * cp.sum_squares(x)"
            )

    def __repr__(self) -> str:
        return f"Regularized(weight={self.weight})"

    def _solutions(self, values: list[Any]) -> Solutions:
        made = regularized(self._prices, values, self.weight, self.rounds, self.tol)
        late = int(made.late.sum())
        if late:
            warn(
                f"{late} of {len(made.late)} regularized solutions are short of tol={self.tol} "
                f"after at most {self.rounds} rounds; allow more, or a larger weight or tol",
                InaccurateSolutionWarning,
            )
        uneven = int(made.uneven.sum())
        if uneven:
            warn(
                f"{uneven} of {len(made.late)} regularized solutions have variables that differ by "
                "more than 1e5 in size, and the smaller ones, with their gradients, are lost in "
                "the rounding: bound the large ones, or scale the variables",
                InaccurateSolutionWarning,
            )
        return made

    def _differences(
        self, values: list[Any], targets: list[np.ndarray], margin: list[np.ndarray] | None
    ) -> Scores:
        """F(target) - F(x) of F(x) = f(x) + (weight/2) |x|²; its gradient is target - x."""
        if margin is not None:
            raise InvalidOption("a regularized layer has no margins")
        made, layer = self._solutions(values), self._layer
        target = targets_of(layer, rows_of(layer, targets, made.batch))
        outputs = layer.canonical.variables.outputs
        v = np.concatenate([output.linear(target.x) for output in outputs], axis=1)

        def F(x: np.ndarray) -> np.ndarray:
            return np.asarray(np.sum(made.costs * x + self.weight / 2 * x * x, axis=1))

        own = cost_cotangent(layer, self._prices.adjoint(made.solutions))
        gradient = cost_cotangent(layer, target.x) - own
        good = np.isfinite(made.solutions).all(axis=1)
        gradient = np.where(good[:, None], gradient, 0.0)
        return Scores(layer, made.batch, F(v) - F(made.solutions), gradient)
