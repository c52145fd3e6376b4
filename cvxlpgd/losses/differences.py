"""Losses for a layer whose target is a solution: each one a difference of Lagrangians.

    D(v | w) = min_{x: variables = v} f(x; w) - min_x f(x; w)  >= 0

(Paulus, Martius, Musil, ICML 2024, section 4). They take layers of any framework and any solver;
gradients need no second solve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidInput, InvalidOption, InvalidProblem
from cvxlpgd.losses.protocol import (
    LossLayer,
    Pullback,
    Reduction,
    array_of,
    check,
    reduce,
    reduced,
    refuse_vjp,
    split,
    wide,
)

ROUNDING = 1e-6  # a solver's own vertex is that far from zeros and ones, or less


class _Difference:
    """A loss of `(*parameters, *targets)`: as many as the layer has, then its variables' values.

    It is D(target | w), where f is diminished by a linear function if there is a margin.
    """

    def __init__(self, layer: LossLayer, reduction: Reduction = "mean") -> None:
        check(layer, reduction)
        self.layer, self.reduction = layer, reduction

    def __call__(self, *values: Any) -> Any:
        """The loss for `(*parameters, *targets)`.

        Raises
        ------
        InvalidInput
            For a target that is not feasible.
        SolveFailed
        """
        parameters, targets = split(self.layer, values)
        margin = self._margin(targets)
        losses = self.layer.lagrangian_difference(*parameters, targets=targets, margin=margin)
        return reduce(losses, self.reduction)

    def vjp(self, *values: Any) -> tuple[Any, Pullback]:
        """For NumPy layers: the loss, and the function from its cotangent to the parameters'."""
        parameters, targets = split(self.layer, values)
        return _numpy_vjp(self.layer, parameters, targets, self._margin(targets), self.reduction)

    def _margin(self, targets: Sequence[Any]) -> list[Any] | None:
        """Cotangents of the linear function, one for each variable."""
        return None


class FenchelYoung(_Difference):
    """The Fenchel-Young loss: how much worse the target is than the solution, D(target | w).

        loss = f(target; w) - min_x f(x; w),    for a cost w: gradient target - x*(w)

    Blondel, Martins, Niculae, "Learning with Fenchel-Young losses", JMLR 2020. With a strictly
    convex f it is differentiable and 0 exactly where the solution is the target.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        It returns primal variables.
    reduction : "mean", "sum" or "none"
        Over the batch.

    Raises
    ------
    InvalidOption, InvalidProblem
    """


class StructuredPerceptron(_Difference):
    """The structured perceptron's loss: D(target | w) of a problem with a linear objective.

        loss = w'target - min_x w'x,    gradient target - x*(w)

    Collins, "Discriminative training methods for hidden Markov models", EMNLP 2002. It is 0, with
    any cost 0: `StructuredHinge` asks for a margin, `FenchelYoung` takes curved objectives.
    """

    def __init__(self, layer: LossLayer, reduction: Reduction = "mean") -> None:
        _Difference.__init__(self, layer, reduction)
        if layer._layer.structure.P.size:
            raise InvalidProblem(
                "the structured perceptron's objective is linear; FenchelYoung(layer) takes others"
            )


class StructuredHinge(_Difference):
    """The structured hinge loss: the target must be better than x by their distance.

        loss = max_x [margin d(x, target) - f(x; w)] + f(target; w),   d = Σ |x - target|

    for targets of zeros and ones (up to 1e-6) and variables between 0 and 1, where d is linear.

    Tsochantaridis, Joachims, Hofmann, Altun, "Large margin methods for structured and
    interdependent output variables", JMLR 2005.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
    margin : float
        Weight of the distance, > 0, in the objective's units.
    reduction : "mean", "sum" or "none"
    """

    def __init__(
        self, layer: LossLayer, margin: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        _Difference.__init__(self, layer, reduction)
        if not is_positive(margin):
            raise InvalidOption(f"margin must be a number > 0, not {margin!r}")
        self.margin = margin

    def _margin(self, targets: Sequence[Any]) -> list[Any]:
        """Margin d(., target) as a linear function: |x - 0| = x and |x - 1| = 1 - x."""
        along = []
        for i, given in enumerate(targets):
            try:
                target = wide(given)
                off = abs(target * (1 - target))  # 0 at 0 and at 1
                fits = bool((off <= ROUNDING).all())
            except (NotImplementedError, RuntimeError, TypeError):  # sparse and meta tensors
                fits = False
            if not fits:
                raise InvalidInput(f"target {i} is not of zeros and ones, as the hinge loss needs")
            along.append(self.margin * (1 - 2 * target))
        return along


class SPOPlus:
    """The SPO+ loss: an upper bound on the regret of deciding by a predicted cost.

        loss = max_x (c - 2 ĉ)'x + 2 ĉ'x*(c) - c'x*(c)  =  D(x*(c) | 2 ĉ - c)
        gradient 2 [x*(c) - x*(2 ĉ - c)]

    Elmachtoub, Grigas, "Smart predict, then optimize", Management Science 2022.

    Parameters
    ----------
    layer : cvxlpgd.torch.CvxpyLayer or cvxlpgd.numpy.CvxpyLayer
        Of one parameter, the cost, that enters the objective only, and linearly. Terms of the
        objective without it are allowed.
    reduction : "mean", "sum" or "none"

    Raises
    ------
    InvalidOption, InvalidProblem
    """

    def __init__(self, layer: LossLayer, reduction: Reduction = "mean") -> None:
        check(layer, reduction)
        inner = layer._layer
        varying = inner.structure.varying
        if len(inner.domains) != 1 or any(len(v) for v in (varying.P, varying.A, varying.b)):
            raise InvalidProblem(
                "SPO+ is for a layer of one parameter, the cost, that enters the objective alone"
            )
        self.layer, self.reduction = layer, reduction

    def __call__(
        self, pred_cost: Any, true_cost: Any, true_sol: Any = None, true_obj: Any = None
    ) -> Any:
        """The loss.

        Parameters
        ----------
        pred_cost, true_cost : (*batch axes, *shape)
        true_sol : (*batch axes, *shape), optional
            x*(true_cost), which is solved for otherwise: solutions that do not change from epoch
            to epoch need to be solved for only once.
        true_obj : ignored
            As other libraries' losses take it.
        """
        spread = _spread(self.layer, pred_cost, true_cost)
        targets = self._solutions(true_cost, true_sol)
        with self._of_other_sign():
            losses = self.layer.lagrangian_difference(spread, targets=targets)
        return reduce(losses, self.reduction)

    def vjp(
        self, pred_cost: Any, true_cost: Any, true_sol: Any = None, true_obj: Any = None
    ) -> tuple[Any, Pullback]:
        """For NumPy layers: the loss, and the function from its cotangent to the prediction's."""
        spread = _spread(self.layer, pred_cost, true_cost)
        targets = self._solutions(true_cost, true_sol)
        with self._of_other_sign():
            loss, pullback = _numpy_vjp(self.layer, [spread], targets, None, self.reduction)

        def pull(bar: Any = 1.0) -> tuple[np.ndarray, ...]:
            (gradient,) = pullback(bar)
            return (_as_given(2 * gradient, pred_cost),)

        return loss, pull

    @contextmanager
    def _of_other_sign(self) -> Iterator[None]:
        """Say where a cost comes from that is outside of what the parameter declares."""
        domain = self.layer._layer.domains[0]
        declared = domain.declared["bounds"]
        try:
            yield
        except InvalidInput as error:
            if not declared or declared not in str(error):
                raise
            raise InvalidInput(
                f"{error}. SPO+ solves for 2 pred_cost - true_cost, which may leave what "
                f"{domain.name} declares by {declared}: declare the cost without it"
            ) from None

    def _solutions(self, true_cost: Any, true_sol: Any) -> list[Any]:
        solutions = self.layer(true_cost) if true_sol is None else true_sol
        return list(solutions) if isinstance(solutions, list | tuple) else [solutions]


def _spread(layer: LossLayer, pred_cost: Any, true_cost: Any) -> Any:
    """2 pred_cost - true_cost, (*batch axes, *shape of the parameter).

    Raises
    ------
    InvalidInput
        For other shapes, or batch axes or arrays that do not fit each other.
    """
    shape = layer._layer.domains[0].shape
    costs: list[Any] = []
    for name, cost in (("pred_cost", pred_cost), ("true_cost", true_cost)):
        array = array_of(cost, name)
        own = tuple(array.shape)
        if len(own) < len(shape) or own[len(own) - len(shape) :] != shape:
            raise InvalidInput(f"{name} has shape {own}, expected {shape} after any batch axes")
        costs.append(wide(array, costs[0] if costs else None))
    try:
        return 2 * costs[0] - costs[1]
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(f"pred_cost and true_cost do not go together: {error}") from None


def _as_given(gradient: np.ndarray, given: Any) -> np.ndarray:
    """A cotangent (*batch axes, *shape) in the shape and precision of the value it belongs to."""
    value = np.asarray(given)
    total = gradient.sum(axis=tuple(range(gradient.ndim - value.ndim)))
    shared = tuple(i for i, n in enumerate(value.shape) if n == 1)
    total = np.asarray(total.sum(axis=shared, keepdims=True) if shared else total)
    return total.astype(value.dtype) if value.dtype.kind == "f" else total


def _numpy_vjp(
    layer: Any, parameters: list[Any], targets: list[Any], margin: Any, reduction: str
) -> tuple[Any, Pullback]:
    if not hasattr(layer, "lagrangian_difference_vjp"):
        refuse_vjp()
    losses, pullback = layer.lagrangian_difference_vjp(*parameters, targets=targets, margin=margin)
    return reduced(losses, pullback, reduction)
