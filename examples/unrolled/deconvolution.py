"""Nonlinear deconvolution by unrolled schemes, with and without recurrent momentum.

A second-order Volterra filter (examples/unrolled/volterra.py) maps a signal of 53 values to 12
data, more nonlinear the larger a is; 1 % noise. Schemes learn the way back from n_train signals,
400 unless more are made; the figure is the mean squared error on 500 others. The methods
(examples/unrolled/methods.py) are

    lpgd, lpgd_ma, lpgd_rma    learned proximal gradient descent: plain, with a moving average,
                               with recurrent momentum (Zhou et al., Inverse Problems 2024)
    lpd, lpd_ma, lpd_rma       learned primal-dual, alike
    lpgd_wide, lpd_wide        plain, with as many parameters as the recurrent ones
    prox                       total variation within [-1, 1] as the prox, in CVXPY, with trained
                               steps and weights

and, without training,

    prox_untrained             the same iterations, the same prox; one weight, the best on
                               validation data
    gauss_newton               the most probable signal for a normal law of the training signals'
                               mean and covariance, by Gauss-Newton steps

All begin at the mean of the training signals, whose own error is the last line of the table. They
share step, batches, clipping and the choice of weights by validation. A training that is no longer
finite has diverged; it is counted, and the weights before it are tested.

The whole table, in two processes of some hour; a run that a file has is not repeated:

    python -m examples.unrolled.deconvolution --methods METHODS --seeds 3 --json a.json
    python -m examples.unrolled.deconvolution --methods METHODS --seed 3 --seeds 2 --json b.json
    python -m examples.unrolled.deconvolution --from a.json b.json --plot deconvolution.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from itertools import product
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from cvxlpgd.unrolled import Prox, UnrolledGradient
from cvxlpgd.unrolled.operators import jacobian
from examples.unrolled.experiment import Case, Experiment, arguments, main
from examples.unrolled.methods import PROX_ITERATIONS, Problem
from examples.unrolled.samples import Samples, Sets
from examples.unrolled.training import SHOWN, Run, estimates, mse
from examples.unrolled.volterra import (
    MOST,
    NOISE,
    TRAIN,
    VALIDATION,
    N,
    Volterra,
    more,
    reference,
)

WEIGHT = 0.03  # of total variation, where training starts
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)  # that the untrained method chooses from
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # variances of the data's noise, likewise
GAUSS_NEWTON_STEPS = 20  # half steps: whole ones overshoot where F is steep
QUICK = {"methods": "lpgd,lpgd_ma,lpgd_rma,prox", "a": [1], "train": [100], "epochs": 6}
AXIS = "a"


def variation_in_a_box() -> Prox:
    """Weight TV(x) for -1 <= x <= 1; a sample whose solve fails becomes NaN."""
    x, weight = cp.Variable(N), cp.Parameter(nonneg=True, name="weight")
    box = [x >= -1, x <= 1]
    return Prox(weight * cp.tv(x), x, {weight: WEIGHT}, constraints=box, on_failure="nan")


def samples(a: float, n_train: int) -> tuple[Volterra, Sets]:
    """The operator, the first n_train training signals, and all others.

    Beyond those of the reference there are as many training signals as one likes.
    """
    arrays = reference()
    operator = Volterra(a, arrays.w1, arrays.W2)
    deviation = operator(_single(arrays.signals))[:TRAIN].std()

    def measured(signals: np.ndarray, noise: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        truth = _single(signals)
        return truth, operator(truth) + NOISE * deviation * _single(noise)

    truth, data = measured(arrays.signals, arrays.noise)
    pairs = {
        "train": (truth[: min(n_train, TRAIN)], data[: min(n_train, TRAIN)]),
        "validation": (truth[TRAIN : TRAIN + VALIDATION], data[TRAIN : TRAIN + VALIDATION]),
        "test": (truth[TRAIN + VALIDATION :], data[TRAIN + VALIDATION :]),
    }
    if n_train > TRAIN:
        others = measured(*more(n_train - TRAIN))
        pairs["train"] = tuple(map(torch.cat, zip(pairs["train"], others, strict=True)))
    start = pairs["train"][0].mean(0)
    return operator, Sets(**{
        part: Samples(truth, data, start.expand_as(truth)) for part, (truth, data) in pairs.items()
    })  # fmt: skip


def _single(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def made(case: Case, options: argparse.Namespace) -> tuple[Problem, Sets]:
    """The problem of a case, and its samples."""
    operator, sets = samples(case["a"], case["n_train"])
    return Problem.of(operator, sets.train, variation_in_a_box), sets


def prox_untrained(problem: Problem, sets: Sets) -> Run:
    """Proximal gradient descent with the weight that is best on validation data."""

    def scheme(weight: float) -> UnrolledGradient:
        made = UnrolledGradient(
            problem.operator, N, problem.prox(), iterations=PROX_ITERATIONS, step=problem.step
        )
        with torch.no_grad():
            made.updates[0].prox.trained[0].fill_(np.log(weight))
        return made

    best = min(map(scheme, WEIGHTS), key=lambda scheme: mse(scheme, sets.validation))
    return _untrained(lambda samples: estimates(best, samples), sets)


def gauss_newton(problem: Problem, sets: Sets) -> Run:
    """X = mean + Bz with BB' the training covariance: minimize |F(x) - y|²/ridge + |z|².

    z <- ½z + ½(J'J + ridge I)⁻¹ J'(y - F(x) + Jz),  J = F'(x)B
    """
    truth = sets.train.truth
    mean = truth.mean(0)
    _, sizes, modes = torch.linalg.svd((truth - mean) / len(truth) ** 0.5, full_matrices=False)
    B = (sizes[:, None] * modes).T

    def image(samples: Samples, ridge: float) -> torch.Tensor:
        z = torch.zeros(len(samples.data), B.shape[1], 1)
        for _ in range(GAUSS_NEWTON_STEPS):
            x = mean + (B @ z)[..., 0]
            J = jacobian(problem.operator, x) @ B
            residual = (samples.data - problem.operator(x))[..., None] + J @ z
            hessian = J.mT @ J + ridge * torch.eye(B.shape[1])
            z = (z + torch.linalg.solve(hessian, J.mT @ residual)) / 2
        return mean + (B @ z)[..., 0]

    def error(ridge: float) -> float:
        return float((image(sets.validation, ridge) - sets.validation.truth).square().mean())

    best = min(RIDGES, key=error)
    return _untrained(lambda samples: image(samples, best), sets)


def _untrained(estimate: Any, sets: Sets) -> Run:
    """What a run of a method without training has."""
    errors = {
        name: float((estimate(part) - part.truth).square().mean())
        for name, part in (("test_mse", sets.test), ("validation_mse", sets.validation))
    }
    return {"parameters": 0, **errors, "estimates": estimate(sets.test[:SHOWN]).tolist()}


def draw(figure: Any, signals: Mapping[str, np.ndarray]) -> None:
    """Each test signal, and what the methods make of it."""
    from examples.unrolled.picture import look

    panels = figure.subplots(1, SHOWN, sharey=True)
    for i, panel in enumerate(panels):
        for name, values in signals.items():
            style = {"color": "black", "lw": 2, "label": name} if name == "truth" else look(name)
            panel.plot(values[i], **{"lw": 1, **style})
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize="small")


def cases(options: argparse.Namespace) -> list[Case]:
    """Every a with every number of training signals."""
    return [{"a": a, "n_train": n} for a, n in product(options.a, options.train)]


EXPERIMENT = Experiment(
    "Nonlinear deconvolution", AXIS, cases, made,
    {"prox_untrained": prox_untrained, "gauss_newton": gauss_newton}, draw,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    words = arguments(__doc__ or "", "deconvolution", EXPERIMENT, 40, QUICK)
    words.add_argument(
        "--a", type=float, nargs="+", default=[0.0, 1.0, 2.0, 4.0],
        help="nonlinearities (default: 0 1 2 4)",
    )  # fmt: skip
    words.add_argument(
        "--train", type=int, nargs="+", choices=range(1, MOST + 1), default=[TRAIN],
        metavar="COUNT", help=f"training signals, at most {MOST} (default: {TRAIN})",
    )  # fmt: skip
    return words


if __name__ == "__main__":
    sys.exit(main(parser(), EXPERIMENT))
