"""One training, the same for every method: what is counted, what is kept, what has diverged.

Mean squared error, Adam, gradients clipped; the weights of the epoch with the smallest validation
error are tested. A training whose loss or gradient is not finite has diverged: it ends there, and
the weights before it count.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from time import process_time
from typing import Any

import torch
from torch import nn

from examples.unrolled.methods import Problem, build, count
from examples.unrolled.samples import Samples, Sets

Tensor = torch.Tensor
Run = dict[str, Any]

RATES = {"prox": 2e-2}  # its few parameters are logarithms of a step and a weight
RATE, BETAS, CLIP = 1e-3, (0.9, 0.99), 1.0
CHUNK = 250  # samples of one evaluation: memory, not results
SHOWN = 3  # test samples whose estimates a run keeps, for pictures


def train(
    method: str,
    problem: Problem,
    sets: Sets,
    seed: int,
    epochs: int,
    batch: int = 16,
    progress: Callable[[Run], None] = lambda row: None,
) -> Run:
    """Train once, and test.

    Parameters
    ----------
    seed : int
        Of the initial weights and of the order of samples.
    progress : called with each epoch's row {"epoch", "train_mse", "validation_mse"}

    Returns
    -------
    {"method", "seed", "parameters", "test_mse", "validation_mse", "diverged", "epoch", "seconds",
    "curve": rows, "estimates": those of the first test samples}
        `epoch` is that of the weights tested, 0 the untrained ones; `seconds` are of CPU time.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    scheme = build(method, problem)
    optimizer = torch.optim.Adam(scheme.parameters(), lr=RATES.get(method, RATE), betas=BETAS)
    begin, curve, diverged = process_time(), [], False
    best, kept = math.inf, copy.deepcopy(scheme.state_dict())
    for epoch in range(epochs + 1):
        train_mse = _epoch(scheme, optimizer, sets.train, order, batch) if epoch else None
        validation = mse(scheme, sets.validation)
        diverged = not math.isfinite(validation) or not math.isfinite(train_mse or 0.0)
        curve.append({"epoch": epoch, "train_mse": train_mse, "validation_mse": validation})
        progress(curve[-1])
        if diverged:
            break
        if validation < best:
            best, kept = validation, copy.deepcopy(scheme.state_dict())
    seconds = process_time() - begin
    scheme.load_state_dict(kept)
    chosen = min(curve, key=lambda row: abs(row["validation_mse"] - best))
    return {
        "method": method, "seed": seed, "parameters": count(scheme),
        "test_mse": mse(scheme, sets.test), "validation_mse": best, "diverged": diverged,
        "epoch": chosen["epoch"], "seconds": seconds, "curve": curve,
        "estimates": estimates(scheme, sets.test[:SHOWN]).tolist(),
    }  # fmt: skip


def _epoch(
    scheme: nn.Module, optimizer: torch.optim.Optimizer, samples: Samples,
    order: torch.Generator, batch: int,
) -> float:  # fmt: skip
    """One pass over the samples; their mean squared error meanwhile, NaN where it diverged."""
    total, trained = 0.0, [p for p in scheme.parameters() if p.requires_grad]
    for rows in torch.randperm(len(samples.data), generator=order).split(batch):
        part = samples[rows]
        loss = (scheme(part.data, part.start) - part.truth).square().mean()
        optimizer.zero_grad()
        loss.backward(inputs=trained)  # and not of the points where operators are differentiated
        norm = nn.utils.clip_grad_norm_(trained, CLIP)
        if not (loss.isfinite() and norm.isfinite()):
            return math.nan
        optimizer.step()
        total += float(loss.detach()) * len(rows)
    return total / len(samples.data)


def estimates(scheme: nn.Module, samples: Samples) -> Tensor:
    """What the scheme makes of the data, (count, n)."""
    with torch.no_grad():
        pairs = zip(samples.data.split(CHUNK), samples.start.split(CHUNK), strict=True)
        return torch.cat([scheme(data, start) for data, start in pairs])


def mse(scheme: nn.Module, samples: Samples) -> float:
    """Mean squared error of its estimates."""
    return float((estimates(scheme, samples) - samples.truth).square().mean())
