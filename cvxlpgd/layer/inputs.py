"""Values on their way in: how many, of what shape, in which domain; and the batch they form."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from array_api_compat import is_numpy_array

from cvxlpgd.canonical.entries import pattern_of
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer.arguments import advice, first_line
from cvxlpgd.layer.packed import Packed, pack
from cvxlpgd.program import Array, norm
from cvxlpgd.program.pattern import namespace_of
from cvxlpgd.program.threads import share_out, workers
from cvxlpgd.solvers.run.arrays import array_in, array_like

_ATTRIBUTES = {  # of CVXPY's parameters
    "bounds": "nonneg pos nonpos neg boolean bounds",
    "pattern": "diag sparsity",
    "integral": "boolean integer",
    "matrix": "PSD NSD symmetric",
}
WORTH = 4e6  # multiplications from which a second thread pays
ACCEPTED = 1e-5  # a domain may be violated by this much of a value's largest entry


@dataclass(frozen=True, eq=False)
class Domain:
    """The values that one parameter takes.

    `declared` has the attribute behind each restriction, as the user wrote it, such as
    {"bounds": "nonneg=True"}.
    """

    name: str
    shape: tuple[int, ...]
    lower: np.ndarray | None  # of the shape that is kept, as is `upper`
    upper: np.ndarray | None
    declared: dict[str, str]
    strict: bool  # whether 0 itself is outside, as for logarithms
    definite: int  # 1 for positive semidefinite, -1 for negative, 0 for neither
    symmetric: bool
    pattern: np.ndarray | None  # places, row by row, increasing, where entries may differ from 0
    integral: bool
    mirror: np.ndarray | None = None  # int: the flattened entries must be equal to these
    absent: np.ndarray | None = None  # bool: entries that nobody reads, whatever they are
    hint: str = ""  # what to hand over in the place of another shape

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of what is kept of a value: all of it, or its entries within the pattern."""
        return self.shape if self.pattern is None else self.pattern.shape

    @cached_property
    def restricts(self) -> bool:
        """Whether any finite value is outside."""
        limits = (self.lower, self.upper, self.pattern)
        kinds = self.strict, self.integral, self.symmetric, self.definite
        return any(limit is not None for limit in limits) or any(kinds)

    @classmethod
    def of(cls, parameter: cp.Parameter, logarithm: bool) -> Domain:
        """The domain that a CVXPY parameter declares."""
        has, pattern = parameter.attributes, pattern_of(parameter)
        shape = parameter.shape if pattern is None else pattern.shape
        lower = upper = None
        if has["nonneg"] or has["pos"] or has["boolean"]:
            lower = np.zeros(shape)
        if has["nonpos"] or has["neg"]:
            upper = np.zeros(shape)
        if has["boolean"]:
            upper = np.ones(shape)
        if has["bounds"] is not None:
            lower, upper = (_bound(b, parameter.shape, pattern) for b in has["bounds"])
        declared = {
            kind: ", ".join(f"{name}=" if name in ("bounds", "sparsity") else f"{name}=True"
                            for name in names.split() if has[name] not in (None, False))
            for kind, names in _ATTRIBUTES.items()
        }  # fmt: skip
        return cls(
            parameter.name(), parameter.shape, lower, upper, declared, logarithm,
            int(bool(has["PSD"])) - int(bool(has["NSD"])),
            bool(has["symmetric"] or has["PSD"] or has["NSD"]), pattern,
            bool(has["boolean"] or has["integer"]),
        )  # fmt: skip

    def violations(self, values: Array, stray: np.ndarray | None) -> list[str]:
        """What is wrong with each value (batch, *kept); empty where nothing is.

        `stray` (batch,) is each value's largest entry outside of the pattern, where there is one.
        """
        faults, declared, xp = [""] * len(values), self.declared, namespace_of(values)
        flat = values.reshape(len(values), math.prod(self.kept))

        def note(bad: Array, text: str) -> None:
            for i in np.flatnonzero(array_in(bad, "numpy")):
                faults[i] = faults[i] or text

        if self.absent is not None:
            absent = xp.asarray(self.absent.reshape(-1), device=flat.device)
            flat = xp.where(absent, 0.0, flat)
        finite = xp.isfinite(flat).all(axis=1)
        if stray is not None:
            finite &= xp.asarray(np.isfinite(stray), device=flat.device)
        if not bool(finite.all()):
            note(~finite, "has NaN or infinite entries")
            flat = xp.where(finite[:, None], flat, 1.0)
        if self.mirror is not None:
            skew = norm(flat - flat[:, self.mirror])
            note(skew > ACCEPTED * norm(flat), "must be symmetric")
        if not self.restricts:
            return faults
        size = norm(flat)
        if stray is not None:
            size = xp.maximum(size, array_like(stray, flat))
        slack = (ACCEPTED * size)[:, None]
        if self.strict:
            note((flat <= 0).any(axis=1), "must be positive")
        if self.lower is not None:
            low = flat < array_like(self.lower.reshape(-1), flat) - slack
            note(low.any(axis=1), f"is below what {declared['bounds']} allows")
        if self.upper is not None:
            high = flat > array_like(self.upper.reshape(-1), flat) + slack
            note(high.any(axis=1), f"is above what {declared['bounds']} allows")
        if stray is not None:
            outside = array_like(stray, flat) > ACCEPTED * size
            note(outside, f"has entries outside of the pattern of {declared['pattern']}")
        if self.integral:
            whole = xp.abs(flat - xp.round(flat)) <= slack
            note(~whole.all(axis=1), f"must be integer, as {declared['integral']} says")
        if self.symmetric:
            square = flat.reshape(values.shape)
            symmetric = self.symmetrize(square)
            if symmetric is not square:
                skew = 2 * norm((square - symmetric).reshape(flat.shape))
                note(skew > ACCEPTED * size, f"must be symmetric, as {declared['matrix']} says")
            if self.definite:
                sign = "positive" if self.definite > 0 else "negative"
                definite = _semidefinite(self.definite * symmetric, ACCEPTED * size)
                note(~definite, f"must be {sign} semidefinite, as {declared['matrix']} says")
        return faults

    def symmetrize(self, values: Array) -> Array:
        """(S + S')/2 for a symmetric parameter; its own adjoint, so gradients pass here too."""
        if not self.symmetric:
            return values
        transposed = values.mT
        return values if bool((values == transposed).all()) else (values + transposed) / 2


def _bound(bound: Any, shape: tuple[int, ...], pattern: np.ndarray | None) -> np.ndarray | None:
    """A bound of the entries that are kept."""
    if isinstance(bound, cp.Expression):
        return None
    if pattern is None:
        dense = bound.toarray() if sp.issparse(bound) else bound
        return np.broadcast_to(np.asarray(dense, dtype=float), shape)
    places = np.unravel_index(pattern, shape)
    if sp.issparse(bound):
        return np.asarray(sp.csr_array(bound)[places], dtype=float)
    return np.broadcast_to(np.asarray(bound, dtype=float), shape)[places]


def _semidefinite(values: Array, slack: Array) -> Array:
    """Whether symmetric matrices have no eigenvalue below -slack; Cholesky mostly settles it."""
    if not is_numpy_array(values):
        return namespace_of(values).linalg.eigvalsh(values)[:, 0] >= -slack
    n, definite = values.shape[-1], np.ones(len(values), dtype=bool)

    def settle(rows: slice) -> None:
        shifted = values[rows] + slack[rows, None, None] * np.eye(n)
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            definite[rows] = np.linalg.eigvalsh(values[rows])[:, 0] >= -slack[rows]

    parts = min(workers(), len(values)) if values.size * n > WORTH else 1
    cuts = [round(len(values) * k / parts) for k in range(parts + 1)]
    share_out(deque(slice(i, j) for i, j in pairwise(cuts)), settle)
    return definite


def real(values: Any, what: str) -> np.ndarray:
    """An array of real numbers; InvalidInput, naming `what`, for anything else."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InvalidInput(f"{what} has masked entries; fill them, or leave them out")
    try:
        array = values.toarray() if sp.issparse(values) else np.asarray(values)
    except Exception as error:  # each library has its own for what is no array
        raise InvalidInput(
            f"{what} cannot be made into an array: {first_line(error)}{advice(values)}"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InvalidInput(
            f"{what} has dtype {array.dtype}; real numbers are needed{advice(values)}"
        )
    return array


def spread(values: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A view of an array of real numbers that has this shape."""
    array = real(values, what)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise InvalidInput(f"{what} has shape {array.shape}, expected {shape}") from None


@dataclass(frozen=True, eq=False)
class Batch:
    """Values with their batch axes flattened to one."""

    shape: tuple[int, ...]  # all parameters' leading axes, broadcast
    own: tuple[tuple[int, ...], ...]  # each parameter's own leading axes
    values: list[Array]  # (samples, *kept shape), or (1, ...) where all samples share it
    stray: list[np.ndarray | None]  # (samples or 1,): the largest entry outside of a pattern
    packed: tuple[bool, ...]  # whether a value was given by its entries within the pattern

    @property
    def samples(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def spread(self, k: int, value: Array, shape: tuple[int, ...]) -> Array:
        """An array (own axes of parameter k, *shape) as (samples or 1, *shape)."""
        own = self.own[k]
        if math.prod(own) == 1:
            return value.reshape(1, *shape)
        if own == self.shape:
            return value.reshape(self.samples, *shape)
        wide = namespace_of(value).broadcast_to(value, self.shape + shape)
        return wide.reshape(self.samples, *shape)

    def gather(self, k: int, value: Array, shape: tuple[int, ...]) -> Array:
        """The adjoint of `spread` from (samples, *shape): sums over what was shared."""
        own = self.own[k]
        value = value.reshape(self.shape + shape)
        added = len(self.shape) - len(own)
        if added:
            value = value.sum(axis=tuple(range(added)))
        shared = tuple(i for i, n in enumerate(own) if n == 1 and self.shape[added + i] != 1)
        if shared:
            value = value.sum(axis=shared, keepdims=True)
        return value.reshape(own + shape)


def own_axes(i: int, domain: Domain, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The batch axes of the i-th value, of this shape; InvalidInput where it is a wrong one."""
    axes = len(shape) - len(domain.shape)
    if axes < 0 or shape[axes:] != domain.shape:
        raise InvalidInput(
            f"Invalid parameter shape for parameter {i} ({domain.name}). Expected "
            f"{domain.shape}, with any batch axes before it; got {tuple(shape)}"
            f"{domain.hint}"
        )
    return tuple(shape[:axes])


def batch_axes(
    domains: Sequence[Domain], shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The batch's shape, and each parameter's own batch axes, for the shapes of the values.

    Raises
    ------
    InvalidInput
        For a wrong number of values, a wrong shape, or batch axes that do not fit.
    """
    if len(shapes) != len(domains):
        raise InvalidInput(
            "A tensor must be provided for each CVXPY parameter; "
            f"received {len(shapes)} tensors, expected {len(domains)}"
        )
    pairs = enumerate(zip(domains, shapes, strict=True))
    own = tuple(own_axes(i, domain, shape) for i, (domain, shape) in pairs)
    try:
        return np.broadcast_shapes(*own), own
    except ValueError:
        described = ", ".join(f"{d.name}: {axes}" for d, axes in zip(domains, own, strict=True))
        raise InvalidInput(
            f"Inconsistent batch sizes: the parameters' batch axes do not broadcast: {described}"
        ) from None


def form_batch(domains: Sequence[Domain], values: Sequence[Array | Packed]) -> Batch:
    """The batch that parameter values form, by NumPy's broadcasting of their leading axes.

    Raises
    ------
    InvalidInput
        As `batch_axes`.
    """
    shape, own = batch_axes(domains, [value.shape for value in values])
    packed = tuple(isinstance(value, Packed) for value in values)
    batch = Batch(shape, own, [], [], packed)
    for k, (domain, value) in enumerate(zip(domains, values, strict=True)):
        kept, stray = pack(domain.pattern, value, len(domain.shape))
        batch.values.append(batch.spread(k, kept, domain.kept))
        batch.stray.append(None if stray is None else batch.spread(k, stray, ()))
    return batch
