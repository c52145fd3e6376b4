"""From one kind of arrays to another: the only place that moves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, to_device

from cvxlpgd.program import Array, ConeProgram, Data, Point


def program_in(program: ConeProgram, kind: str) -> ConeProgram:
    """The program in "numpy" or "torch" arrays; what is of that kind is not copied."""
    if kind == "numpy" and _is_numpy(program.data):
        return program
    return replace(program, data=Data(*(array_in(v, kind) for _, v in program.data.items())))


def point_in(point: Point, kind: str) -> Point:
    """The point in "numpy" or "torch" arrays; what is of that kind is not copied."""
    if kind == "numpy" and _is_numpy(point):
        return point
    return Point(*(array_in(v, kind) for _, v in point.items()))


def point_like(point: Point, like: Array) -> Point:
    """The point in arrays of the kind, dtype and device of another array; NumPy's keep theirs."""
    if isinstance(like, np.ndarray) and _is_numpy(point):
        return point
    return Point(*(array_like(v, like) for _, v in point.items()))


def _is_numpy(vector: Point | Data) -> bool:
    return all(isinstance(v, np.ndarray) for _, v in vector.items())


def array_in(v: Array, kind: str) -> Array:
    """The array as one of NumPy on the CPU, or of torch where it is."""
    if kind == "numpy" and not is_numpy_array(v):
        return np.asarray(to_device(v, "cpu"))
    if kind == "torch" and is_numpy_array(v):
        import torch

        return torch.asarray(v, copy=None if v.flags.writeable else True)
    return v


def array_like(v: Array, like: Array) -> Array:
    """The array as one of the kind, dtype and device of another; NumPy's keep their dtype."""
    if is_numpy_array(like):
        return array_in(v, "numpy")
    copy = is_numpy_array(v) or None  # torch shares no memory that it must not write to
    return array_namespace(like).asarray(v, dtype=like.dtype, device=like.device, copy=copy)
