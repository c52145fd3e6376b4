"""PyEPO's methods, in a process of their own, with versions and solvers of their own.

    python -m examples.decisions.theirs

reads jobs from stdin, a line of JSON each, and answers each by lines of JSON: {"backend"} and the
rows of the training, or {"absent": why} where PyEPO cannot run it here; {"failure": why} where a
solver fails; and always {"done": true} at last.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.decisions import tasks
from examples.decisions.backends import absent, model
from examples.decisions.methods import LAMBDA, PG_SIGMA, SIGMA, SOLVE_RATIO
from examples.decisions.training import Row, training

Loss = Callable[..., torch.Tensor]  # (predicted, true costs, true decisions, values, extra)


class Setting:
    """What a loss is made of: a fresh model, the training samples, the job's options."""

    def __init__(self, job: Row, data: tasks.Data) -> None:
        self.data, self.job, self.train = data, job, slice(0, job["train"])
        self.model, self.backend = model(data.task, data.fixed, job["solver"])

    def known(self) -> Any:
        """The training set as PyEPO has it, with the solutions that all methods get."""
        from pyepo.data.dataset import optDataset

        best, costs = self.data.best[self.train], self.data.costs[self.train]
        values = (costs * best).sum(1, keepdim=True)

        class Known(optDataset):  # type: ignore[misc]
            """Not solved for once more."""

            def _get_sols(self) -> tuple[np.ndarray, np.ndarray]:
                return best.numpy(), values.numpy()

        return Known(self.model, self.data.features[self.train], costs)

    def pooled(self, name: str) -> Any:
        """A loss over a pool, which solves in the same steps as ours."""
        import pyepo.func

        kind = getattr(pyepo.func, name)
        loss = kind(self.model, processes=1, solve_ratio=SOLVE_RATIO, dataset=self.known())
        loss._branch_rng = np.random.default_rng(self.job["seed"])
        return loss

    def regret(self, name: str, **options: Any) -> Loss:
        """The mean of c'x - c'x*, or of its opposite where c'x is maximized."""
        decide = self.function(name, **options)

        def loss(predicted: Any, costs: Any, best: Any, *_: Any) -> torch.Tensor:
            return self.data.sense * (costs * (decide(predicted) - best)).sum(1).mean()

        return loss

    def squared(self, name: str, **options: Any) -> Loss:
        """The mean of |x - x*|²."""
        decide = self.function(name, **options)

        def loss(predicted: Any, costs: Any, best: Any, *_: Any) -> torch.Tensor:
            return (decide(predicted) - best).square().sum(1).mean()

        return loss

    def function(self, name: str, **options: Any) -> Any:
        """One of PyEPO's modules."""
        import pyepo.func

        return getattr(pyepo.func, name)(self.model, processes=1, **options)

    def noisy(self) -> dict[str, Any]:
        """The options of perturbed solutions."""
        return {"n_samples": self.job["samples"], "sigma": SIGMA}

    def seeded(self) -> dict[str, Any]:
        """The same, where there is a seed among them."""
        return {**self.noisy(), "seed": self.job["seed"]}

    def gamma(self) -> dict[str, Any]:
        """The same, where the noise is a sum of Gamma variables."""
        from pyepo.func.utils import sumGammaDistribution

        noise = sumGammaDistribution(kappa=5, seed=self.job["seed"])
        return {**self.noisy(), "distribution": noise}


def _spo(s: Setting) -> Loss:
    module = s.function("SPOPlus")
    return lambda predicted, costs, best, values, *_: module(predicted, costs, best, values)


def _by_decision(module: Any) -> Loss:
    return lambda predicted, costs, best, *_: module(predicted, best)


def _by_cost(module: Any) -> Loss:
    return lambda predicted, costs, *_: module(predicted, costs)


def _cave(s: Setting) -> Loss:
    module = s.function("CaVE")
    return lambda predicted, costs, best, values, normals: module(predicted, normals)


LOSSES: dict[str, Callable[[Setting], Loss]] = {
    "two_stage": lambda s: lambda predicted, costs, *_: (predicted - costs).square().mean(),
    "spo_plus": _spo,
    "fenchel_young": lambda s: _by_decision(s.function("RFY", lambd=1.0)),
    "frank_wolfe": lambda s: s.squared("RFWO", lambd=1.0),
    "perturbed_fy": lambda s: _by_decision(s.function("PFY", **s.seeded())),
    "perturbed": lambda s: s.squared("DPO", **s.seeded()),
    "imle": lambda s: s.regret("IMLE", lambd=LAMBDA, **s.gamma()),
    "aimle": lambda s: s.regret("AIMLE", two_sides=True, **s.gamma()),  # as ours is
    "dbb": lambda s: s.regret("DBB", lambd=LAMBDA),
    "nid": lambda s: s.regret("NID"),
    "envelope": lambda s: _by_cost(s.function("PG", sigma=PG_SIGMA)),
    "nce": lambda s: _by_decision(s.pooled("NCE")),
    "map": lambda s: _by_decision(s.pooled("CMAP")),
    "listwise": lambda s: _by_cost(s.pooled("lsLTR")),
    "pairwise": lambda s: _by_cost(s.pooled("prLTR")),
    "pointwise": lambda s: _by_cost(s.pooled("ptLTR")),
    "cave": _cave,
}


def rows(job: Row, data: tasks.Data) -> Iterator[Row]:
    """Train by one method; `job` as for our own.

    Yields
    ------
    {"absent": why}, or {"backend"} once and then the rows of `training`
    """
    why = absent(data.task, job["solver"], job["method"])
    if why:
        yield {"absent": why}
        return
    setting = Setting(job, data)
    yield {"backend": setting.backend}
    setting.model.setObj(data.costs[0].numpy())
    setting.model.solve()  # the first call prepares the solver
    part = setting.train
    costs, best = data.costs[part], data.best[part]
    tensors = [data.features[part], costs, best, (costs * best).sum(1, keepdim=True)]
    if job["method"] == "cave":
        tensors.append(_normals(setting))
    loss = LOSSES[job["method"]](setting)
    yield from training(job["seed"], job["rate"], job["steps"], job["every"], tensors, loss)


def _normals(setting: Setting) -> torch.Tensor:
    """Those of the constraints that are tight, (samples, as many as at most, n), else zeros."""
    from pyepo.data.dataset import optDatasetConstrs
    from torch.nn.utils.rnn import pad_sequence

    features, costs = (v[setting.train] for v in (setting.data.features, setting.data.costs))
    dataset = optDatasetConstrs(setting.model, features.numpy(), costs.numpy())
    return pad_sequence(dataset.ctrs, batch_first=True)


@cache
def _data(file: str) -> tasks.Data:
    return tasks.Data.load(Path(file))


def answers(job: Row) -> Iterator[Row]:
    """All lines that answer a job."""
    try:
        yield from rows(job, _data(job["data"]))
    except (RuntimeError, ValueError) as error:  # what PyEPO raises where a solver fails
        yield {"failure": f"{type(error).__name__}: {error}"}
    yield {"done": True}


def main() -> None:
    """Answer jobs until there are no more."""
    torch.set_num_threads(1)
    # solvers greet on stdout, which is for answers alone
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        for row in answers(json.loads(line)):
            print(json.dumps(row), file=answer, flush=True)


if __name__ == "__main__":
    main()
