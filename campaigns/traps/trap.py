"""What a trap is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Layer = Callable[..., Any]  # a class with the constructor and the call of cvxpylayers' torch layer


class Seen(NamedTuple):
    """Whether somebody fell into the trap, and what was seen."""

    fell: bool
    what: str


@dataclass(frozen=True)
class Trap:
    """A mistake that is easy to make, and who is asked whether they make it.

    Parameters
    ----------
    title : str
        What should not happen.
    peers : mapping
        Name -> a function that springs the trap on that library. One that raises fell into it.
    ours : callable
        The same for cvxlpgd.
    tests : tuple of str
        The tests of ours that hold it, "test_file.py::test_function".
    newest : bool
        Whether it is a trap of the newest versions only, in an environment of their own.
    """

    title: str
    peers: Mapping[str, Callable[[], Seen]]
    ours: Callable[[], Seen]
    tests: tuple[str, ...]
    newest: bool = False


def theirs() -> Layer:
    """The layer of cvxpylayers."""
    from cvxpylayers.torch import CvxpyLayer

    layer: Layer = CvxpyLayer
    return layer


def mine() -> Layer:
    """The layer of cvxlpgd."""
    from cvxlpgd.torch import CvxpyLayer

    return CvxpyLayer


def both(spring: Callable[[Layer], Seen]) -> tuple[Callable[[], Seen], Callable[[], Seen]]:
    """The same trap for cvxpylayers and for ours: their constructors and calls are the same."""
    return lambda: spring(theirs()), lambda: spring(mine())


def tensor(*values: Any) -> torch.Tensor:
    """A leaf of doubles."""
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def numbers(values: Any) -> str:
    """A few numbers as text."""
    return (
        "[" + ", ".join(f"{float(v):.3g}" for v in torch.as_tensor(values).detach().flatten()) + "]"
    )


def off(found: torch.Tensor, right: torch.Tensor) -> float:
    """The relative distance of two tensors."""
    return float((found - right).norm() / right.norm())


def outcome(action: Callable[[], Any]) -> str:
    """Empty where an action runs, otherwise its error as one short line."""
    try:
        action()
    except Exception as error:
        text = " ".join(str(error).split())
        return f"{type(error).__name__}: {text[:90]}"
    return ""
