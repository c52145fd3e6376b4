"""A solver by name, or the first suitable one of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption, UnsuitableSolver
from cvxlpgd.program import Structure
from cvxlpgd.solvers._cvxpy_options import TABLE
from cvxlpgd.solvers._protocol import Solver, is_installed, missing_cones, require
from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.cvxpy import CVXPY
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.scs import SCS

OWN: dict[str, Callable[[], Solver]] = {"CLARABEL": Clarabel, "SCS": SCS, "ECOS": ECOS}

# solver=None takes the first of these that is installed, takes the structure and has the options.
# Gradients are differences of solutions, so what counts is how reproducible these are. An interior
# point is as far from the solution as the square root of its gap on curved cones, which SCS,
# warm-started, is not; tests/test_derivatives.py holds the defaults against the exact derivative.
POLYHEDRAL = ("CLARABEL", "SCS", "ECOS", "HIGHS", "SCIP")
CURVED = ("SCS", "CLARABEL", "ECOS", "SCIP")


def named(name: str) -> Solver:
    """The solver of this name, in any case: with a file of its own, or through CVXPY."""
    own = OWN.get(name.upper())
    return own() if own is not None else CVXPY(name)


def known() -> Iterator[tuple[Solver, bool, bool]]:
    """(solver, has a file of its own, is installed) of all solvers that are known by name."""
    import cvxpy as cp

    names = dict.fromkeys([*OWN, *cp.installed_solvers(), *TABLE])
    for name in names:
        solver = named(name)
        yield solver, name in OWN, is_installed(solver)


def resolved(
    solver: str | Solver | None, structure: Structure, options: Mapping[str, Any]
) -> Solver:
    """The solver to use, with the options.

    Raises
    ------
    UnsuitableSolver, SolverNotInstalled, InvalidOption
        Where the solver, or any if None, cannot serve.
    """
    if isinstance(solver, str):
        solver = named(solver)
    if solver is not None:
        if isinstance(solver, type) or not callable(getattr(solver, "solve", None)):
            raise InvalidOption(
                f"solver must be None, a name or a solver such as Clarabel(), not {solver!r}"
            )
        require(solver, structure)
        return solver.with_options(options) if options else solver
    curved = any(not isinstance(cone, Zero | NonNeg) for cone in structure.cones)
    preferred = map(named, CURVED if curved else POLYHEDRAL)
    suitable = [s for s in preferred if is_installed(s) and not missing_cones(s, structure)]
    refusals: list[str] = []
    for candidate in suitable:
        if refusals and candidate.name not in OWN:
            continue  # CVXPY passes on any option: that says nothing about this one
        try:
            return candidate.with_options(options)
        except InvalidOption as error:
            refusals.append(str(error))
    if refusals:
        others = [s.name for s in suitable if s.name in OWN][1:]
        given = ", ".join(sorted(repr(option) for option in options))
        also = f"; nor has {' or '.join(others)} all of {given}" if others else ""
        raise InvalidOption(f"{refusals[0]}{also}")
    kinds = sorted({type(cone).__name__ for cone in structure.cones})
    raise UnsuitableSolver(
        f"no installed solver takes this program (cones {', '.join(kinds)}"
        f"{', integers' if structure.mixed_integer else ''}); pass solver= with one that does"
    )
