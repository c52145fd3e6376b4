"""The affine map from parameters to the data of programs, by sparse matrices, and its adjoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace

from cvxlpgd.program import Array, Data
from cvxlpgd.program.linear import Linear

FIELDS = ("P", "q", "A", "b")


@dataclass(frozen=True, eq=False)
class Block:
    """One field of the data: value = base, with base + M theta at the varying entries."""

    base: np.ndarray  # (1, entries)
    varying: np.ndarray  # int: the entries that theta reaches, one for each row of M
    matrix: sp.csr_array  # M, (varying entries, columns of theta)

    def __post_init__(self) -> None:
        self.base.flags.writeable = False  # programs are handed the array itself

    @cached_property
    def whole(self) -> bool:
        """Whether theta alone makes the field: it reaches every entry, and the base is 0."""
        return len(self.varying) == self.base.shape[1] and not self.base.any()

    def entries_within(self, columns: np.ndarray) -> np.ndarray:
        """The entries that these parts of theta reach, bool (columns of theta,)."""
        inside = np.append(columns[self.matrix.indices], False)
        return self.varying[np.add.reduceat(inside, self.matrix.indptr[:-1]) > 0]


@dataclass(frozen=True, eq=False)
class Single:
    """A parameter's entries in one matrix, each in one place."""

    name: str  # of the field, P or A
    entries: np.ndarray  # not sorted
    factors: np.ndarray  # > 0: what an entry of the field's cotangent is multiplied by, its size

    def sample(self, most: int) -> Single:
        """At most so many of the entries, spread over all of them, the same each time."""
        if len(self.entries) <= most:
            return self
        rng = np.random.default_rng(len(self.entries))
        chosen = np.sort(rng.choice(len(self.entries), most, replace=False))
        return Single(self.name, self.entries[chosen], self.factors[chosen])


@dataclass(frozen=True, eq=False)
class ParameterMap:
    """theta -> data, affine; theta holds the parameters' values, then logarithms of some.

    Of a parameter with a pattern it holds the entries within that.
    """

    blocks: dict[str, Block]  # for P, q, A, b and "offset", the objective's constant term
    sources: tuple[tuple[int, bool], ...]  # each part of theta: (parameter, logarithm?)
    starts: tuple[int, ...]  # where each part begins in theta, and theta's length

    def data(self, values: Sequence[Array]) -> tuple[Data, Array]:
        """(data, offset) for parameter values (batch or 1, size), flattened row by row.

        A field is of length 1 unless a parameter of full batch length reaches it.
        """
        parts = [_source(values[i], log) for i, log in self.sources]
        fields = {name: self._affine(name, parts) for name in self.blocks}
        offset = fields.pop("offset")
        return Data(**fields), offset[:, 0]

    def tangent(self, values: Sequence[Array], tangents: Sequence[Array]) -> Data:
        """The data's tangent at the varying entries, for parameter tangents (batch or 1, size)."""
        parts = [tangents[i] / values[i] if log else tangents[i] for i, log in self.sources]
        linear = {name: self._linear(name, parts) for name in FIELDS}
        return Data(**linear)

    def cotangents(
        self,
        values: Sequence[Array],
        data_bar: Data,
        entries: Data,
        needed: Sequence[bool],
        magnitudes: bool = False,
        offset_bar: Array | None = None,
    ) -> list[Array | None]:
        """The cotangents (batch, size) of the parameters that are needed, None for the others.

        Parameters
        ----------
        values : arrays (batch or 1, size)
        data_bar, entries : Data
            The data's cotangent, fields (batch, entries), and which entries these are.
        needed : bools, one for each parameter
        magnitudes : bool
            Whether to return the sums of their terms' absolute values instead.
        offset_bar : array (batch,), optional
            The cotangent of the objective's constant term.
        """
        bars = []
        for name in FIELDS:
            block, rows, bar = self.blocks[name], getattr(entries, name), getattr(data_bar, name)
            if 0 < len(rows) < len(block.varying):
                xp = array_namespace(bar)
                shape = (bar.shape[0], len(block.varying))
                whole = xp.zeros(shape, dtype=bar.dtype, device=bar.device)
                whole[:, np.searchsorted(block.varying, rows)] = bar
                bar = whole
            if len(rows):
                bars.append((name, abs(bar) if magnitudes else bar))
        if offset_bar is not None and len(self.blocks["offset"].varying):
            bars.append(("offset", offset_bar[:, None]))
        pulled = (self._pull(name, bar, values, needed, magnitudes) for name, bar in bars)
        return _add_up(len(values), chain.from_iterable(pulled))

    def _pull(
        self, name: str, bar: Array, values: Sequence[Array], needed: Sequence[bool],
        magnitudes: bool,
    ) -> Iterator[tuple[int, Array]]:  # fmt: skip
        """Parameters, and parts of their cotangents for that of a block's varying entries."""
        linear = self._maps[name]
        theta_bar, start = (linear.magnitudes if magnitudes else linear).adjoint(bar), 0
        for k in self._reaching[name]:
            i, log = self.sources[k]
            end = start + self.starts[k + 1] - self.starts[k]
            if needed[i]:
                part = theta_bar[:, start:end]
                part = part / values[i] if log else part
                yield i, abs(part) if magnitudes else part
            start = end

    def bounds(
        self, values: Sequence[np.ndarray], most: Data, entries: Data, needed: Sequence[bool]
    ) -> list[np.ndarray | None]:
        """What no entry of a parameter's cotangent exceeds, (batch,), where no entry of the data's
        fields exceeds `most`, fields (batch, 1); the others as in `cotangents`.
        """

        def parts() -> Iterator[tuple[int, np.ndarray]]:
            for name in FIELDS:
                if not len(getattr(entries, name)):
                    continue
                for k, gain in zip(self._reaching[name], self._gains[name], strict=True):
                    i, log = self.sources[k]
                    if needed[i]:
                        part = gain * getattr(most, name)[:, 0]
                        yield i, part / abs(values[i]).min(axis=1) if log else part

        return _add_up(len(values), parts())

    @cached_property
    def _gains(self) -> dict[str, list[float]]:
        """For each block and each part of theta that reaches it, the largest column sum of |M|."""
        gains = {}
        for name, parts in self._reaching.items():
            sums = np.asarray(abs(self.blocks[name].matrix).sum(axis=0)).ravel()
            shares = (sums[self.starts[k] : self.starts[k + 1]] for k in parts)
            gains[name] = [float(share.max(initial=0.0)) for share in shares]
        return gains

    def entries(self, needed: Sequence[bool]) -> Data:
        """The varying entries that the needed parameters reach."""
        if all(needed):
            return Data(**{name: self.blocks[name].varying for name in FIELDS})
        key = tuple(needed)
        if key not in self._entries:
            columns = np.zeros(self.starts[-1], dtype=bool)
            for k, (i, _) in enumerate(self.sources):
                columns[self.starts[k] : self.starts[k + 1]] = needed[i]
            reached = {name: self.blocks[name].entries_within(columns) for name in FIELDS}
            self._entries[key] = Data(**reached)
        return self._entries[key]

    def single(self, parameter: int, mirror: np.ndarray) -> Single | None:
        """How a parameter reaches one of the matrices, if it reaches nothing else, and each of its
        entries one entry at most, or one of P and the one across its diagonal, `mirror` (entries,).
        """
        if parameter not in self._singles:
            self._singles[parameter] = self._single(parameter, mirror)
        return self._singles[parameter]

    def _single(self, parameter: int, mirror: np.ndarray) -> Single | None:
        name = self.fields(parameter)
        parts = [k for k, (i, _) in enumerate(self.sources) if i == parameter]
        if name not in ("P", "A") or len(parts) != 1 or self.sources[parts[0]][1]:
            return None
        block, (k,) = self.blocks[name], parts
        matrix = sp.coo_array(block.matrix[:, self.starts[k] : self.starts[k + 1]])
        entries, columns, factors = block.varying[matrix.row], matrix.col, matrix.data
        if name == "P":  # the cotangent of P is symmetric: both entries are one, as often
            entries = np.minimum(entries, mirror[entries])
        order = np.lexsort((entries, columns))
        entries, columns, factors = entries[order], columns[order], factors[order]
        first = np.append(True, np.diff(columns) > 0)[: len(columns)]
        if (~first & (np.append(-1, entries[:-1]) != entries)[: len(columns)]).any():
            return None
        sums = np.abs(np.add.reduceat(factors, np.flatnonzero(first))) if len(first) else factors
        return Single(name, entries[first][sums > 0], sums[sums > 0])

    @cached_property
    def _singles(self) -> dict[int, Single | None]:
        """Those that were asked for; adding one is atomic."""
        return {}

    def fields(self, parameter: int) -> str:
        """The names of the data's fields that a parameter reaches, one after the other."""
        return "".join(
            name for name in FIELDS
            if any(self.sources[k][0] == parameter for k in self._reaching[name])
        )  # fmt: skip

    @cached_property
    def _entries(self) -> dict[tuple[bool, ...], Data]:
        """The entries of each choice of needed parameters so far; adding to it is atomic."""
        return {}

    @cached_property
    def _reaching(self) -> dict[str, tuple[int, ...]]:
        """For each block, the parts of theta that reach it."""
        reaching = {}
        for name, block in self.blocks.items():
            reached = np.zeros(self.starts[-1] + 1, dtype=bool)
            reached[block.matrix.indices] = True
            spans = pairwise(self.starts)
            reaching[name] = tuple(k for k, (i, j) in enumerate(spans) if reached[i:j].any())
        return reaching

    @cached_property
    def _maps(self) -> dict[str, Linear]:
        """For each block, M with the columns of the parts that reach it."""
        maps = {}
        for name, parts in self._reaching.items():
            matrix = self.blocks[name].matrix
            if len(parts) < len(self.sources):
                spans = [np.arange(self.starts[k], self.starts[k + 1]) for k in parts]
                matrix = matrix[:, np.concatenate([np.zeros(0, dtype=int), *spans])]
            maps[name] = Linear(sp.csr_array(matrix))
        return maps

    def _affine(self, name: str, parts: Sequence[Array]) -> Array:
        base, varying = self.blocks[name].base, self.blocks[name].varying
        if not self._reaching[name]:
            return _like(parts, base)  # NumPy's own: nobody writes to it
        linear = self._linear(name, parts)
        if self.blocks[name].whole:
            return linear
        out = _like(parts, np.repeat(base, linear.shape[0], axis=0))
        out[:, varying] += linear
        return out

    def _linear(self, name: str, parts: Sequence[Array]) -> Array:
        """M theta, of batch length only where a part of that length reaches the block."""
        reaching = [parts[k] for k in self._reaching[name]]
        if not reaching:
            return _like(parts, np.zeros((1, 0)))
        if len(reaching) == 1:
            return self._maps[name](reaching[0])
        xp = array_namespace(*reaching)
        batch = max(part.shape[0] for part in reaching)
        if any(part.shape[0] == 0 for part in reaching):
            batch = 0
        wide = [xp.broadcast_to(part, (batch, part.shape[1])) for part in reaching]
        return self._maps[name](xp.concat(wide, axis=1))


def _add_up(count: int, parts: Iterable[tuple[int, Array]]) -> list[Array | None]:
    """The sums of the parts of each of `count` parameters, None where it has none."""
    sums: list[Array | None] = [None] * count
    for i, part in parts:
        sums[i] = part if sums[i] is None else sums[i] + part
    return sums


def _like(parts: Sequence[Array], values: np.ndarray) -> Array:
    if not parts or isinstance(parts[0], np.ndarray):
        return values
    xp = array_namespace(*parts)
    return xp.asarray(values, dtype=parts[0].dtype, device=parts[0].device, copy=True)


def _source(value: Array, log: bool) -> Array:
    return array_namespace(value).log(value) if log else value
