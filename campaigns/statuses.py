"""Statuses of programs whose status is known: `python -m campaigns.statuses`.

Random programs of every cone, made infeasible by a y in the dual cone's inside with A'y = 0 and
b'y < 0, unbounded by a d with Pd = 0, -Ad inside of the cone and q'd < 0, or solvable around a
complementary pair; rows and columns of several units.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cvxlpgd.cones import PSD, SOC, Cone, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import ConeProgram, Data, Structure
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.solution import Solution
from cvxlpgd.solvers.choose.choice import choose_solver, solver_of_name
from cvxlpgd.solvers.protocol import missing_cones
from cvxlpgd.solvers.run.solve import solve

KINDS = ("infeasible", "unbounded", "solved")
CONES: dict[str, tuple[Cone, ...]] = {
    "linear": (Zero(2), NonNeg(8)),
    "second order": (Zero(1), NonNeg(2), SOC(4), SOC(3)),
    "semidefinite": (Zero(1), NonNeg(1), PSD(3)),
    "exponential": (Zero(1), NonNeg(2), Exp(), Exp()),
    "power": (Zero(1), NonNeg(2), Pow(0.3), Pow(0.6)),
}
WRONG = {  # what must not be said of a program of each kind
    "infeasible": ("solved", "inaccurate", "unbounded"),
    "unbounded": ("solved", "inaccurate", "infeasible"),
    "solved": ("infeasible", "unbounded"),
}


@dataclass(frozen=True)
class Told:
    """What a solver said of one program."""

    kind: str
    cones: str
    quadratic: bool
    number: int
    status: str
    message: str

    @property
    def wrong(self) -> bool:
        """Whether that cannot be."""
        return self.status in WRONG[self.kind]


def program(
    rng: np.random.Generator, kind: str, cones: Sequence[Cone], quadratic: bool, wild: float
) -> ConeProgram:
    """A random program of this kind, its rows and columns in units up to 10^±wild."""
    n, m = 6, sum(cone.rows for cone in cones)
    A, x = rng.normal(size=(m, n)), rng.normal(size=n)
    root = rng.normal(size=(n - 2, n)) * quadratic
    inside, dual = _inside(cones, rng), _inside(cones, rng)
    s, y = _complementary(cones, rng)
    if kind == "infeasible":
        A -= np.outer(dual, dual @ A) / (dual @ dual)
        b = rng.normal(size=m)
        b -= dual * (b @ dual + 1) / (dual @ dual)
        q = -root.T @ (root @ x) - A.T @ y
    elif kind == "unbounded":
        d = rng.normal(size=n)
        A += np.outer(-inside - A @ d, d) / (d @ d)
        root -= np.outer(root @ d, d) / (d @ d)
        q = rng.normal(size=n)
        q -= d * (q @ d + 1) / (d @ d)
        b = A @ x + _inside(cones, rng)
    else:
        b, q = A @ x + s, -root.T @ (root @ x) - A.T @ y
    rows = np.concatenate([_units(cone, rng, wild) for cone in cones])
    cols = 10 ** rng.uniform(-wild, wild, n)
    cost = 10 ** rng.uniform(-wild, wild)
    A, b, q, root = rows[:, None] * A * cols, rows * b, cost * q * cols, root * cols
    return _assembled(A, b, q, cost * root.T @ root if quadratic else None, tuple(cones))


def _inside(cones: Sequence[Cone], rng: np.random.Generator) -> np.ndarray:
    """A point inside of the cones and of their duals, 0 in equations but of any sign there."""
    parts = []
    for cone in cones:
        if cone.interior is None:
            parts.append(np.zeros(cone.rows))
        else:
            parts.append(np.asarray(cone.interior) * rng.uniform(0.5, 2.0))
    return np.concatenate(parts)


def _complementary(
    cones: Sequence[Cone], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """S = Π_K(v) and y = s - v, for a random v."""
    s, y = [], []
    for cone in cones:
        v = rng.normal(size=cone.rows)
        nearest = np.asarray(cone.project(v[None]))[0]
        s.append(nearest)
        y.append(nearest - v)
    return np.concatenate(s), np.concatenate(y)


def _units(cone: Cone, rng: np.random.Generator, wild: float) -> np.ndarray:
    """A unit for each row, or for each curved cone."""
    if isinstance(cone, Zero | NonNeg):
        return np.asarray(10 ** rng.uniform(-wild, wild, cone.rows))
    return np.full(cone.rows, 10 ** rng.uniform(-wild, wild))


def _assembled(
    A: np.ndarray, b: np.ndarray, q: np.ndarray, P: np.ndarray | None, cones: tuple[Cone, ...]
) -> ConeProgram:
    (m, n), nothing = A.shape, np.zeros(0, dtype=int)

    def pattern(rows: int, cols: int) -> Pattern:
        return Pattern.of((rows, cols), *np.indices((rows, cols)).reshape(2, -1))

    structure = Structure(
        Pattern.of((n, n), [], []) if P is None else pattern(n, n), pattern(m, n), cones,
        nothing, nothing, Data(nothing, nothing, nothing, nothing), np.ones(n),
    )  # fmt: skip
    entries = np.zeros((1, 0)) if P is None else P.T.reshape(1, -1)
    return ConeProgram(structure, Data(entries, q[None], A.T.reshape(1, -1), b[None]))


def told(
    seed: int, count: int, solver: str | None = None, wild: float = 2.0, progress: bool = False
) -> list[Told]:
    """What the default choice, or a solver, says of `count` programs of each kind and cone."""
    found = []
    cases = [(kind, name, k) for kind in KINDS for name in CONES for k in range(count)]
    for kind, name, number in tqdm(cases, disable=not progress):
        quadratic = number % 2 == 1
        rng = np.random.default_rng([seed, KINDS.index(kind), list(CONES).index(name), number])
        one = program(rng, kind, CONES[name], quadratic, wild * (number % 4 > 1))
        chosen = (
            choose_solver(None, one.structure, {}) if solver is None else solver_of_name(solver)
        )
        if missing_cones(chosen, one.structure):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solution: Solution = solve(chosen, one)
        found.append(
            Told(kind, name, quadratic, number, str(solution.status[0]), solution.messages[0])
        )
    return found


def table(results: Sequence[Told]) -> str:
    """How often what was said of each kind."""
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for cones in CONES:
            own = [r for r in results if (r.kind, r.cones) == (kind, cones)]
            if own:
                counts = Counter(r.status for r in own)
                wrong = sum(r.wrong for r in own)
                rows.append({"is": kind, "cones": cones, "wrong": wrong} | dict(counts))
    return tabulate(rows, headers="keys", tablefmt="github")


def main() -> int:
    """Print the table, and what was said wrongly; 1 if anything was."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.statuses", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40, help="of each kind and cone")
    parser.add_argument("--solver", help="one solver instead of the choice")
    parser.add_argument("--wild", type=float, default=2.0, help="powers of ten of half of them")
    given = parser.parse_args()
    results = told(given.seed, given.count, given.solver, given.wild, progress=True)
    print(table(results))
    wrong = [r for r in results if r.wrong]
    for r in wrong:
        print(r)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
