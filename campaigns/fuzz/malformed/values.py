"""Malformed values, and what is done with one: a case."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch

VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "0": 0,
    "3": 3,
    "-1": -1,
    "2.5": 2.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "complex": 1 + 2j,
    "text": "text",
    "empty text": "",
    "bytes": b"bytes",
    "empty list": [],
    "list of None": [None],
    "ragged": [1.0, [2.0, 3.0]],
    "texts": ["a", "b"],
    "empty dict": {},
    "dict": {"a": 1},
    "dict of numbers": {1: 2},
    "set": {1, 2},
    "range": range(2),
    "object": object(),
    "class": dict,
    "function": len,
    "exception": ValueError("nothing"),
    "decimal": decimal.Decimal("NaN"),
    "date": datetime.date(2020, 1, 1),
    "slice": slice(1, 2),
    "ellipsis": ...,
    "array of text": np.array(["a", "b"]),
    "array of objects": np.array([object(), None]),
    "complex array": np.array([1j, 2.0]),
    "NaN array": np.array([1.0, np.nan]),
    "infinite array": np.array([-np.inf, np.inf]),
    "array of dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "record array": np.zeros(2, dtype=[("a", float), ("b", int)]),
    "long array": np.ones(7),
    "cube": np.ones((2, 3, 4)),
    "sparse array": sp.eye_array(3),
    "NaN tensor": torch.tensor([float("nan"), 1.0]),
    "complex tensor": torch.tensor([1j, 1.0]),
    "NaN sparse tensor": torch.tensor([float("nan"), 1.0]).to_sparse(),
    "long sparse tensor": torch.ones(7).to_sparse(),
    "meta tensor": torch.ones(2, device="meta"),
    "long tensor": torch.ones(7),
    "variable": cp.Variable(2),
    "constant": cp.Constant([1.0, 2.0]),
    "constraint": cp.Variable() >= 0,
    "problem": cp.Problem(cp.Minimize(cp.Variable() ** 2)),
}


@dataclass(frozen=True)
class Malformed:
    """One malformed input.

    Parameters
    ----------
    name : str
        The place, and the value there.
    run : callable
        Hands it in.
    words : tuple of str
        The message must have one of them.
    """

    name: str
    run: Callable[[], Any]
    words: tuple[str, ...]


def spoiled(
    place: str,
    run: Callable[[Any], Any],
    *words: str,
    fine: Collection[str] = (),
    more: Mapping[str, Any] | None = None,
) -> list[Malformed]:
    """All values but the fine ones, and more, at one place.

    Parameters
    ----------
    run : value -> anything
    words : str
        What the message may call the argument.
    fine : names of values that are allowed there
    more : further values by name
    """
    unknown = set(fine) - set(VALUES)
    assert not unknown, unknown
    values = {name: v for name, v in VALUES.items() if name not in fine} | dict(more or {})
    return [
        Malformed(f"{place}: {name}", lambda value=value: run(value), words)
        for name, value in values.items()
    ]
