"""A piece of a batch in a worker of an executor: what travels, and what stays.

    parent   structure's token, data, start  ------------->  worker   solves, keeps set-ups
             solution, what its solver left  <-------------

Values travel: the states that solvers leave, such as a basis, go back with the solution, so that
any worker may start from them, with the same result. What cannot travel stays and is found again:
a structure by its token, set-ups by their matrices' values (`stock.py`). A worker that lacks a
structure says so and gets it; one that lacks a set-up makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pickle import dumps
from typing import Any, NamedTuple

import numpy as np

from cvxlpgd.program import ConeProgram, Data, Point, Solution, Structure
from cvxlpgd.solvers.protocol import Solver, WithEnds
from cvxlpgd.solvers.run.stock import SHELF
from cvxlpgd.solvers.run.tokens import STRUCTURES, gone, introduce, structure_of, token_of


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples for a worker."""

    solver: Solver
    token: str
    structure: Structure | _Travelling | None  # None where the worker should have it
    data: Data
    start: Solution | None
    workspace: np.ndarray | None  # of the start: a pickled solution leaves it out
    gone: tuple[str, ...]  # structures that nobody needs

    @classmethod
    def of(cls, solver: Solver, program: ConeProgram, start: Solution | None) -> Piece:
        """A piece without its structure."""
        workspace, token = _portable(start), token_of(program.structure)
        return cls(solver, token, None, program.data, start, workspace, gone())

    def with_structure(self, structure: Structure) -> Piece:
        """The same for a worker that lacks it, where it arrives as a Structure."""
        return replace(self, structure=_Travelling(structure, self.token))


@dataclass(frozen=True, eq=False)
class _Travelling:
    """A structure on its way: known by its token before what follows it in the piece is read, such
    as what was left of it.
    """

    structure: Structure
    token: str

    def __reduce__(self) -> Any:
        """In the worker it is the structure."""
        return _arrive, (self.structure, self.token)


def _arrive(structure: Structure, token: str) -> Structure:
    """The structure of this name, which may be here already."""
    return structure_of(token) or introduce(structure, token)


class Outcome(NamedTuple):
    """What a worker made of a piece; nothing where it lacks the structure."""

    lacking: bool = False
    solution: Solution | None = None
    workspace: np.ndarray | None = None

    @property
    def whole(self) -> Solution | None:
        """The solution with what its solver left."""
        return self.solution and self.solution.change(workspace=self.workspace)


Way = Callable[..., Solution | None]  # of (solver, program, start, *arguments)


def run_piece(way: Way, piece: Piece, *arguments: Any) -> Outcome:
    """Do it, in the worker."""
    structure = _receive(piece)
    if structure is None:
        return Outcome(lacking=True)
    start = piece.start and piece.start.change(workspace=piece.workspace)
    solution = way(piece.solver, ConeProgram(structure, piece.data), start, *arguments)
    return Outcome(False, solution, _portable(solution))


def _portable(solution: Solution | None) -> np.ndarray | None:
    """What the solver left with a solution; None where that cannot travel, as a caller's own solver
    may leave what it likes.
    """
    if solution is None or solution.workspace is None:
        return None
    try:
        dumps(solution.workspace)
    except Exception:  # the classes of what is left raise what they like
        return None
    return solution.workspace


def follow(
    solver: Solver, program: ConeProgram, solution: Solution, direction: Point, taus: np.ndarray
) -> Solution | None:
    """The ends along a direction, see `WithEnds`; None by a solver that has none."""
    if not isinstance(solver, WithEnds):
        return None
    return solver.ends(program, solution, direction, taus)


_received: dict[str, Structure] = {}  # by token, the one that was asked for last at the end


def _receive(piece: Piece) -> Structure | None:
    """The piece's structure, kept for later ones; None where neither has it."""
    structure = _received.pop(piece.token, None) or structure_of(piece.token)
    if structure is None and isinstance(piece.structure, Structure):
        structure = introduce(piece.structure, piece.token)
    if structure is not None:
        _received[piece.token] = structure
        SHELF.structures.add(piece.token)
    # two dictionaries' methods are atomic: with threads a structure may come twice, to no effect
    for token in (*piece.gone, *list(_received)[:-STRUCTURES]):
        if token != piece.token:
            _received.pop(token, None)
            SHELF.forget(token)
    return structure
