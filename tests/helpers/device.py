"""A device that is not the CPU, simulated on it, and a solver that works on its tensors.

Every operation is checked as CUDA would: tensors of both devices meet only where CUDA allows it, a
copy to the CPU is asked for, and noted with its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter, tree_map

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Pattern, Point, Structure
from cvxlpgd.solution import Solution, Status

DEVICE = torch.device("lazy")  # a name that autograd knows, and that no build has a backend for
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_MOVING = ("aten::_to_copy", "aten::copy_")


class OnDevice(torch.Tensor):
    """A tensor on the device; what it holds is on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        tensor.held = held
        return tensor

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class SimulatedDevice(TorchDispatchMode):
    """The context in which `DEVICE` exists: `put` tensors there. `fetched` has the shapes of all
    that was copied to the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[tuple[int, ...]] = []

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """A leaf on the device that requires a gradient."""
        return OnDevice(tensor.detach().clone()).requires_grad_()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        moves = function.name().startswith(_MOVING)
        target = kwargs.get("device")
        if moves and isinstance(args[0], OnDevice) and target is not None and target != DEVICE:
            self.fetched.append(tuple(args[0].shape))
        if function.name().startswith("aten::_local_scalar_dense"):
            self.fetched.append(())
        return _run(function, args, kwargs)


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The function of what the tensors hold, its results on the device that it has them on."""
    name = function.name().partition(".")[0]
    tensors = [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
    there = [v for v in tensors if isinstance(v, OnDevice)]
    if name in _INDEXED and there:  # indices may be on the CPU, values may not
        index = [v for v in tree_iter(args[1]) if v is not None]
        tensors = [v for v in tensors if all(v is not i for i in index)]
        assert isinstance(args[0], OnDevice), "a tensor of the CPU is indexed by one of the device"
    if there and name not in _MOVING:
        foreign = [v for v in tensors if not isinstance(v, OnDevice) and v.ndim]
        if foreign:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    target = kwargs.get("device")
    result_there = bool(there) if target is None else torch.device(target) == DEVICE
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    own = tree_map(lambda v: _held(v) if isinstance(v, torch.Tensor) else v, (args, kwargs))
    result = function(*own[0], **own[1])
    if name == "aten::copy_":
        return args[0]
    if function._schema.is_mutable and isinstance(args[0], OnDevice):
        return args[0]
    if not result_there:
        return result
    return tree_map(lambda v: OnDevice(v) if isinstance(v, torch.Tensor) else v, result)


@dataclass(frozen=True)
class Splitting:
    """Batched ADMM on tensors, and on no others: those of `device`, doubles.

    x: (P + A'A) x = A'(b - s - y) - q,   s = proj_K(b - Ax - y),   y += Ax + s - b
    """

    device: str = DEVICE.type
    iterations: int = 1000
    name = "SPLITTING"
    requires = ("torch",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = False
    arrays = "torch"
    accuracy = 1e-10

    def with_options(self, options: Mapping[str, Any]) -> Splitting:
        return replace(self, **options)

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        structure, w, batch = program.structure, program.data, program.batch
        for v in (w.P, w.q, w.A, w.b, *(vars(start.point).values() if start else ())):
            assert isinstance(v, torch.Tensor), f"an array of {type(v)}"
            assert (v.device.type, v.dtype) == (self.device, torch.double), repr(v)
        with _disable_current_modes():  # checks end where the solver begins, and it is fast
            point = self._iterate(structure, *map(_held, (w.P, w.q, w.A, w.b)), batch, start)
        if self.device == DEVICE.type:
            point = Point(*map(OnDevice, vars(point).values()))
        status = np.full(batch, Status.SOLVED, dtype=object)
        counts = np.full(batch, float(self.iterations))
        return Solution(point, status, counts, 0.0 * counts, ("",) * batch)

    def _iterate(self, structure, P, q, A, b, batch, start) -> Point:
        P, A = full(structure.P, P), full(structure.A, A)
        inverse = torch.linalg.inv(P + A.mT @ A)
        x, y, s = (q.new_zeros(batch, size) for size in (structure.n, structure.m, structure.m))
        if start is not None:
            x, y, s = (_held(v).nan_to_num() for v in vars(start.point).values())
        for _ in range(self.iterations):
            x = times(inverse, times(A.mT, b - s - y) - q)
            rest = b - times(A, x)
            s = project(structure, rest - y)
            y = y + s - rest
        return Point(x, y, s)


def _held(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.held if isinstance(tensor, OnDevice) else tensor


def full(pattern: Pattern, values: torch.Tensor) -> torch.Tensor:
    """Matrices (batch or 1, rows, columns) of the entries' values."""
    rows, columns = pattern.shape
    matrix = values.new_zeros(len(values), rows * columns)
    matrix[:, pattern.rows * columns + pattern.cols] = values
    return matrix.reshape(len(values), rows, columns)


def times(matrix: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Matrices (batch or 1, m, n) times vectors (batch or 1, n)."""
    return (matrix @ vectors[..., None])[..., 0]


def project(structure: Structure, v: torch.Tensor) -> torch.Tensor:
    """The nearest points of the cones, (batch, m)."""
    parts = [cone.project(part).reshape(len(v), -1) for cone, _, part in structure.split(v)]
    return torch.cat(parts, 1)
