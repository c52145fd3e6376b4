"""Rows in a solver's order and the way back, and the lift of P to a second-order cone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.cones.psd import triangle
from cvxlpgd.cones.registry import position
from cvxlpgd.errors import UnsuitableSolver
from cvxlpgd.program.data import Data
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.program.programs import ConeProgram
from cvxlpgd.program.structure import Structure


@dataclass(frozen=True, eq=False)
class Order:
    """The rows of a program in another order: new row k is old row `rows[k]`."""

    rows: np.ndarray

    def program(self, program: ConeProgram) -> ConeProgram:
        """The program with its rows in this order; its cones are left as they were."""
        if np.array_equal(self.rows, np.arange(len(self.rows))):
            return program
        w = program.data
        entries, pattern = self.pattern(program.structure.A)
        structure = replace(program.structure, A=pattern)
        return ConeProgram(structure, replace(w, A=w.A[:, entries], b=w.b[:, self.rows]))

    def pattern(self, A: Pattern) -> tuple[np.ndarray, Pattern]:
        """A's pattern with its rows in this order, and where its entries stand in A."""
        rows = self.places[A.rows]
        entries = np.lexsort((rows, A.cols))
        return entries, Pattern(A.shape, rows[entries], A.cols[entries])

    @cached_property
    def places(self) -> np.ndarray:
        """Where each old row went: v_old = v_new[places]."""
        return np.argsort(self.rows)


def upper_triangle(structure: Structure) -> Order:
    """Semidefinite rows as the upper triangle column by column, as some solvers want them."""
    rows = np.arange(structure.m)
    for cone, first, count in structure.blocks:
        if isinstance(cone, PSD):
            i, j = triangle(cone.order)  # entry (i, j), i >= j, stands for (j, i) of the upper one
            order = np.lexsort((j, i))
            for k in range(first, first + count * cone.rows, cone.rows):
                rows[k : k + cone.rows] = k + order
    return Order(rows)


def exponential(structure: Structure, order: tuple[int, int, int]) -> Order:
    """Exponential rows in another order than x, y, z."""
    rows = np.arange(structure.m)
    for cone, first, count in structure.blocks:
        if isinstance(cone, Exp):
            starts = first + 3 * np.arange(count)[:, None]
            rows[first : first + 3 * count] = (starts + np.array(order)).ravel()
    return Order(rows)


def unknown_cone(cone: Cone, to: str) -> UnsuitableSolver:
    """The error of a cone that a solver, or a form of programs, has no word for."""
    return UnsuitableSolver(
        f"{type(cone).__name__} cones are unknown to {to}; choose another solver"
    )


def scs_cones(structure: Structure) -> dict[str, object]:
    """The cones as the dictionary that SCS and its relatives read; unknown ones are refused."""
    cones: dict[type, list[Any]] = {kind: [] for kind in (Zero, NonNeg, SOC, PSD, Exp, Pow)}
    for cone in structure.cones:
        if type(cone) not in cones:
            raise unknown_cone(cone, "SCS and its relatives")
        cones[type(cone)].append(cone)
    return {
        "z": sum(cone.rows for cone in cones[Zero]),
        "l": sum(cone.rows for cone in cones[NonNeg]),
        "q": [cone.rows for cone in cones[SOC]],
        "s": [cone.order for cone in cones[PSD]],
        "ep": len(cones[Exp]),
        "p": [cone.alpha for cone in cones[Pow]],
    }


@dataclass(frozen=True, eq=False)
class Lift:
    """A program without P: ½x'Px = ½|Rx|² <= t, as (t + ½, t - ½, Rx) in a second-order cone.

    The variables are (x, t); the new rows stand where second-order rows end. At a solution
    t = ½x'Px, the new slack is (t + ½, t - ½, Rx) and its dual (t + ½, ½ - t, -Rx).
    """

    program: ConeProgram  # the lifted programs, one more variable
    rows: np.ndarray  # where the original rows are among the lifted ones
    lifted: np.ndarray  # where the new rows are
    roots: np.ndarray  # R of each sample (batch or 1, k, n), P = R'R


def lift(program: ConeProgram) -> Lift:
    """Lift P of each sample to one second-order cone.

    Raises
    ------
    UnsuitableSolver
        For a cone without a place in the order of rows.
    """
    structure, w, n, m = program.structure, program.data, program.structure.n, program.structure.m
    active, roots = _roots(structure.P, w.P)
    k = len(active)
    last = position(SOC)
    earlier = [cone for cone in structure.cones if position(type(cone)) <= last]
    first, before = sum(cone.rows for cone in earlier), len(earlier)
    rows = np.concatenate([np.arange(first), np.arange(first, m) + k + 2])
    lifted = first + np.arange(k + 2)

    batch = max(len(w.A), len(w.P))
    new_rows = np.concatenate([rows[structure.A.rows], lifted[:2], np.repeat(lifted[2:], k)])
    new_cols = np.concatenate([structure.A.cols, [n, n], np.tile(active, k)])
    values = (w.A, np.full((1, 2), -1.0), -roots[:, :, active].reshape(len(w.P), -1))
    entries = np.concatenate([np.broadcast_to(v, (batch, v.shape[1])) for v in values], axis=1)
    b = np.zeros((len(w.b), m + k + 2))
    b[:, rows], b[:, lifted[:2]] = w.b, (0.5, -0.5)
    q = np.concatenate([w.q, np.ones((len(w.q), 1))], axis=1)
    order, none = np.argsort(new_cols * (m + k + 2) + new_rows), np.zeros(0, dtype=int)
    lifted_structure = Structure(
        P=Pattern.of((n + 1, n + 1), [], []),
        A=Pattern.of((m + k + 2, n + 1), new_rows, new_cols),
        cones=(*earlier, SOC(k + 2), *structure.cones[before:]),
        integer=structure.integer,
        boolean=structure.boolean,
        varying=Data(none, none, none, none),
        user=np.append(structure.user, 0.0),
    )
    data = Data(np.zeros((1, 0)), q, entries[:, order], b)
    return Lift(ConeProgram(lifted_structure, data), rows, lifted, roots)


def _roots(P: Pattern, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k columns of P that have entries, and its symmetric roots R (batch or 1, k, n).

    That root is continuous in P, and diagonal where P is.
    """
    active = np.unique(P.cols)
    dense = np.zeros((len(values), len(active), len(active)))
    dense[:, np.searchsorted(active, P.rows), np.searchsorted(active, P.cols)] = values
    squares, vectors = np.linalg.eigh(dense)
    weighted = vectors * np.sqrt(np.maximum(squares, 0.0))[:, None, :]
    roots = np.zeros((len(values), len(active), P.shape[1]))
    roots[:, :, active] = weighted @ np.swapaxes(vectors, 1, 2)
    return active, roots
