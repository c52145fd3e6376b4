"""One training, the same for every method of both packages.

A linear predictor of float32, Adam, batches of 32. Initial weights and the order of the samples
depend on the seed alone. What is counted are the seconds of the forward pass, the backward pass and
the optimizer's step; nothing is evaluated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import torch

from examples.decisions.tasks import BATCH

Row = dict[str, Any]


def predictor(features: int, outputs: int, seed: int) -> torch.nn.Linear:
    """The network as every method begins with it."""
    torch.manual_seed(seed)
    return torch.nn.Linear(features, outputs)


def training(
    seed: int,
    rate: float,
    steps: int,
    every: int,
    tensors: Sequence[torch.Tensor],
    loss: Callable[..., torch.Tensor],
) -> Iterator[Row]:
    """Train, and yield a row after each `every` steps.

    Parameters
    ----------
    tensors : features, costs, then what else `loss` takes of a sample
    loss : (predicted costs, *those of the batch) -> mean loss

    Yields
    ------
    {"steps", "seconds" since the beginning, "train_loss" mean of the last `every` steps, "weights"}
        `weights` are those of the network: (outputs, features + 1), the bias last.
    """
    network = predictor(tensors[0].shape[1], tensors[1].shape[1], seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    batches = _batches(len(tensors[0]), seed)
    seconds = 0.0
    for done in range(every, steps + 1, every):
        losses, begin = [], perf_counter()
        for _ in range(every):
            index = next(batches)
            features, *rest = (tensor[index] for tensor in tensors)
            value = loss(network(features), *rest)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
        seconds += perf_counter() - begin
        weights = torch.cat((network.weight, network.bias[:, None]), dim=1)
        yield {
            "steps": done, "seconds": seconds, "train_loss": sum(losses) / every,
            "weights": weights.detach().tolist(),
        }  # fmt: skip


def predicted(weights: Sequence[Sequence[float]], features: torch.Tensor) -> torch.Tensor:
    """The costs that a network with these weights predicts."""
    *columns, bias = torch.tensor(weights).T
    return features @ torch.stack(columns) + bias


def _batches(count: int, seed: int) -> Iterator[torch.Tensor]:
    """Indices of batches, epoch after epoch, without end."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=order).split(BATCH)
