"""A solver by name, or those that the rules name for a structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cvxlpgd.errors import InvalidOption, UnsuitableSolver
from cvxlpgd.program import Structure
from cvxlpgd.solvers.choose.rules import rule_for
from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.cvxpy.options import TABLE
from cvxlpgd.solvers.cvxpy.solver import CVXPY
from cvxlpgd.solvers.daqp.solver import DAQP
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.highs import HiGHS
from cvxlpgd.solvers.moreau.solver import Moreau
from cvxlpgd.solvers.osqp import OSQP
from cvxlpgd.solvers.piqp import PIQP
from cvxlpgd.solvers.protocol import Solver, is_installed, is_solver, missing_cones, require
from cvxlpgd.solvers.refine.refined import Refined
from cvxlpgd.solvers.run.executor import OnExecutor
from cvxlpgd.solvers.run.ladder import FirstOf
from cvxlpgd.solvers.scs import SCS

OWN: dict[str, Callable[[], Solver]] = {
    "CLARABEL": Clarabel,
    "SCS": SCS,
    "ECOS": ECOS,
    "DAQP": DAQP,
    "HIGHS": HiGHS,
    "PIQP": PIQP,
    "OSQP": OSQP,
    "MOREAU": Moreau,
}


def _refined_scs() -> Solver:
    """SCS, whose rough solves share one factorization where they share their matrices.

    What those do not lead to comes from an interior point, whose steps do not mind scales that SCS
    is slow at, or calls infeasible.
    """
    rough = SCS(eps=1e-3, adaptive_scale=False, acceleration_lookback=0, max_iters=1000)
    return Refined(SCS(), (rough, Clarabel()))


REFINED: dict[str, Callable[[], Solver]] = {
    "SCS": _refined_scs,
    "CLARABEL": lambda: Refined(Clarabel()),
    "PIQP": lambda: Refined(PIQP()),
    "ECOS": lambda: Refined(ECOS()),
}


def named(name: str) -> Solver:
    """The solver of this name, in any case: with a file of its own, or through CVXPY."""
    own = OWN.get(name.upper())
    return own() if own is not None else CVXPY(name)


def given(solver: Any, argument: str) -> Solver:
    """A solver, or the one of this name.

    Raises
    ------
    InvalidOption
        For anything else, and for an unknown name.
    """
    if isinstance(solver, str):
        try:
            return named(solver)
        except InvalidOption as error:
            raise InvalidOption(f"{argument}: {error}") from None
    if not is_solver(solver):
        raise InvalidOption(
            f"{argument} must be None, a name or a solver such as Clarabel(), not {solver!r}"
        )
    found: Solver = solver
    return found


def known() -> Iterator[tuple[Solver, bool, bool]]:
    """(solver, has a file of its own, is installed) of all solvers that are known by name."""
    import cvxpy as cp

    names = dict.fromkeys([*OWN, *cp.installed_solvers(), *TABLE])
    for name in names:
        solver = named(name)
        yield solver, name in OWN, is_installed(solver)


def names(solver: Solver) -> tuple[str, ...]:
    """A solver's name, or those of the solvers that it asks in turn."""
    inner = solver.solver if isinstance(solver, OnExecutor) else solver
    return tuple(s.name for s in inner.solvers) if isinstance(inner, FirstOf) else (inner.name,)


def resolved(
    solver: str | Solver | None,
    structure: Structure,
    options: Mapping[str, Any],
    argument: str = "solver",
    warm: bool = False,
) -> Solver:
    """The solver to use, with the options; `argument` is what messages call it.

    If `warm`, calls start from earlier solutions.

    Raises
    ------
    UnsuitableSolver, SolverNotInstalled, InvalidOption
        Where the solver, or any if None, cannot serve.
    """
    if solver is not None:
        solver = given(solver, argument)
        require(solver, structure)
        return solver.with_options(options) if options else solver
    rule = rule_for(structure)
    preferred = [REFINED[name]() if rule.refined and name in REFINED else named(name)
                 for name in (rule.warm if warm and rule.warm else rule.solvers)]  # fmt: skip
    suitable = [s for s in preferred if is_installed(s) and not missing_cones(s, structure)]
    refusals: dict[str, str] = {}
    have: list[Solver] = []
    for candidate in suitable:
        if options and candidate.name not in OWN and (have or refusals):
            continue  # CVXPY passes on any option: that says nothing about this one
        try:
            have.append(candidate.with_options(options))
        except InvalidOption as error:
            refusals[candidate.name] = str(error)
    if have:
        return have[0] if len(have) == 1 else FirstOf(tuple(have))
    if refusals:
        raise InvalidOption(_refused(refusals, options))
    kinds = sorted({type(cone).__name__ for cone in structure.cones})
    raise UnsuitableSolver(
        f"no installed solver takes this program (cones {', '.join(kinds)}"
        f"{', integers' if structure.mixed_integer else ''}); pass solver= with one that does"
    )


def _refused(refusals: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """One of the solvers' refusals, the most helpful, and that the others refuse too."""
    first = max(refusals, key=lambda name: "did you mean" in refusals[name])
    others = [name for name in refusals if name != first]
    given = ", ".join(sorted(repr(option) for option in options))
    return refusals[first] + (f"; nor has {' or '.join(others)} all of {given}" if others else "")
