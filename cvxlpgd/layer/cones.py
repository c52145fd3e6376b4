"""Layers of cone programs that are given by their matrices: maps made of their terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.canonical import Canonical
from cvxlpgd.canonical.parameter_map import Block, ParameterMap
from cvxlpgd.canonical.variable_map import Output, VariableMap
from cvxlpgd.cone_programs.inputs import Input
from cvxlpgd.cone_programs.structure import ConeStructure, Term
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer.arguments import arrange
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.inputs import Domain
from cvxlpgd.layer.layer import Layer
from cvxlpgd.layer.settings import Settings
from cvxlpgd.program import Data, Pattern, Structure

OUTPUTS = ("x", "y", "s")


def compile_cone_layer(
    structure: ConeStructure,
    inputs: Sequence[Input],
    variables: Sequence[str],
    settings: Settings,
) -> Layer:
    """The layer of a cone program.

    Parameters
    ----------
    structure : ConeStructure
    inputs : list of Input
        What changes from call to call, in the order of the call, by `choose_inputs`. The others
        keep the values that the structure was made with.
    variables : names among "x", "y" and "s"
    settings : Settings

    Raises
    ------
    InvalidOption, SolverNotInstalled, UnsuitableSolver
    """
    maps = _Maps(structure, inputs)
    own = maps.structure()
    outputs = _outputs(structure, _names("variables", variables, OUTPUTS))
    everything = VariableMap((_output(structure, "x"),))
    canonical = Canonical(own, maps.parameters, VariableMap(outputs), everything, 1.0, False)
    return Layer(Compiled(canonical, [_domain(each) for each in inputs]), settings)


def choose_inputs(structure: ConeStructure, parameters: Sequence[str] | None) -> list[Input]:
    """The inputs that a layer lists, in its order.

    Raises
    ------
    InvalidOption
        For what is no structure, a name that is none, or one that is left out though it has no
        value.
    """
    if not isinstance(structure, ConeStructure):
        raise InvalidOption(
            "a ConeLayer is made of what from_scs, from_clarabel, from_diffcp or from_qp of "
            f"cvxlpgd.cone_programs returns, not of {structure!r}"
        )
    of = {each.name: each for each in structure.inputs}
    names = tuple(of) if parameters is None else _names("parameters", parameters, tuple(of))
    missing = [name for name, own in of.items() if own.value is None and name not in names]
    if missing:
        raise InvalidOption(
            f"{' and '.join(missing)} had no value when the structure was made, so parameters= "
            "must list it"
        )
    return [of[name] for name in names]


def read_values(
    inputs: Sequence[Input], values: Sequence[Any], named: Mapping[str, Any]
) -> list[Any]:
    """The values of a call in the order of the inputs, SciPy matrices by their entries.

    Raises
    ------
    InvalidInput
        For a value too many, one that is missing, or one that is there twice.
    """
    names = [own.name for own in inputs]
    ordered = arrange(names, values, named, f"of {', '.join(names)}")
    return [own.read(value) for own, value in zip(inputs, ordered, strict=True)]


class _Maps:
    """The four fields of a cone program as affine maps of the inputs that are listed."""

    def __init__(self, structure: ConeStructure, inputs: Sequence[Input]) -> None:
        self._of, rows = structure, structure.rows
        sizes = [int(np.prod(own.shape)) for own in inputs]
        starts = tuple(accumulate([0, *sizes]))
        self._starts = dict(zip((own.name for own in inputs), starts, strict=False))
        self._width = sum(sizes)
        self._values = {
            own.name: own.value.ravel() for own in structure.inputs if own.value is not None
        }
        n, m = structure.n, structure.m
        terms = {name: list(structure.terms[name]) for name in ("P", "q")}
        for name in ("A", "b"):  # T A and T b
            terms[name] = [
                term._replace(rows=rows.places[term.rows],
                              factors=term.factors * rows.factors[rows.places[term.rows]])
                for term in structure.terms[name]
            ]  # fmt: skip
        self._patterns = {
            "P": _pattern((n, n), terms["P"]),
            "q": Pattern((n, 1), np.arange(n), np.zeros(n, dtype=int)),
            "A": _pattern((m, n), terms["A"]),
            "b": Pattern((m, 1), np.arange(m), np.zeros(m, dtype=int)),
        }
        blocks = {name: self._block(self._patterns[name], terms[name]) for name in terms}
        nothing = Pattern((1, 1), np.zeros(1, dtype=int), np.zeros(1, dtype=int))
        blocks["offset"] = self._block(nothing, [])
        sources = tuple((i, False) for i in range(len(inputs)))
        self.parameters = ParameterMap(blocks, sources, starts)

    def structure(self) -> Structure:
        """What all programs have in common."""
        none, blocks = np.zeros(0, dtype=np.int64), self.parameters.blocks
        return Structure(
            P=self._patterns["P"],
            A=self._patterns["A"],
            cones=self._of.rows.cones,
            integer=none,
            boolean=none,
            varying=Data(**{name: blocks[name].varying for name in self._patterns}),
            user=np.ones(self._of.n),
        )

    def _block(self, pattern: Pattern, terms: Sequence[Term]) -> Block:
        """Base + M theta on a pattern: the terms of listed inputs in M, the others in the base."""
        base = np.zeros(pattern.size)
        rows, columns = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
        factors = [np.zeros(0)]
        for term in terms:
            entries = np.searchsorted(pattern.flat, term.cols * pattern.shape[0] + term.rows)
            start = self._starts.get(term.input) if term.input is not None else None
            if start is not None:
                rows.append(entries)
                columns.append(start + term.columns)
                factors.append(term.factors)
            else:
                own = term.factors
                if term.input is not None:
                    own = own * self._values[term.input][term.columns]
                np.add.at(base, entries, own)
        where = np.concatenate(rows), np.concatenate(columns)
        shape = pattern.size, self._width
        matrix = sp.csr_array((np.concatenate(factors), where), shape=shape)
        varying = np.flatnonzero(np.diff(matrix.indptr))
        return Block(base[None], varying, matrix[varying])


def _pattern(shape: tuple[int, int], terms: Sequence[Term]) -> Pattern:
    none = np.zeros(0, dtype=int)
    rows = np.concatenate([none, *(term.rows for term in terms)])
    return Pattern.of(shape, rows, np.concatenate([none, *(term.cols for term in terms)]))


def _domain(own: Input) -> Domain:
    """All real numbers; for a matrix with both triangles, the symmetric ones."""
    return Domain(
        own.name, own.shape, None, None, {}, False, 0, False, None, False,
        mirror=own.mirror, absent=own.absent, hint=own.hint,
    )  # fmt: skip


def _outputs(structure: ConeStructure, names: Sequence[str]) -> tuple[Output, ...]:
    return tuple(_output(structure, name) for name in names)


def _output(structure: ConeStructure, name: str) -> Output:
    """x, or y = T'y or s = T⁻¹s in the caller's rows."""
    rows, size = structure.rows, structure.n if name == "x" else structure.m
    if name == "x":
        places, factors = np.arange(size), np.ones(size)
    else:
        places = rows.places
        factors = rows.factors[places] if name == "y" else 1.0 / rows.factors[places]
    matrix = sp.csr_array((factors, (np.arange(size), places)), shape=(size, size))
    return Output(name, (size,), name, False, matrix)


def _names(what: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names, each once, of those that are known."""
    if isinstance(names, str) or not isinstance(names, list | tuple):
        raise InvalidOption(f"{what} must be a list of names, not {names!r}")
    for name in names:
        if name not in known:
            raise InvalidOption(f"{what} has {name!r}; the names are {', '.join(known)}")
    if len(set(names)) < len(names) or (what == "variables" and not names):
        raise InvalidOption(f"{what} must name each once, and at least one variable")
    return tuple(names)
