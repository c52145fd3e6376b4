"""A solver by name, or those that the rules name for a structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cvxlpgd.errors import InvalidOption, UnsuitableSolver
from cvxlpgd.program import Structure
from cvxlpgd.solvers.choose.rules import is_dual_ahead, rule_for
from cvxlpgd.solvers.cvxpy.options import TABLE
from cvxlpgd.solvers.cvxpy.solver import CVXPY
from cvxlpgd.solvers.dual_newton import DualNewton
from cvxlpgd.solvers.protocol import Solver, is_installed, is_solver, missing_cones, require
from cvxlpgd.solvers.registry import SOLVERS
from cvxlpgd.solvers.run.executor import OnExecutor
from cvxlpgd.solvers.run.ladder import FirstOf


def solver_of_name(name: str) -> Solver:
    """The solver of this name, in any case: with a file of its own, or through CVXPY."""
    row = SOLVERS.get(name.upper())
    return CVXPY(name) if row is None else row.adapter()


def is_name(value: Any) -> bool:
    """Whether it is the name of a solver that is known, installed or not."""
    return isinstance(value, str) and value.upper() in {s.name for s, _, _ in all_solvers()}


def as_solver(solver: Any, argument: str) -> Solver:
    """A solver, or the one of this name; InvalidOption for anything else and unknown names."""
    if isinstance(solver, str):
        try:
            return solver_of_name(solver)
        except InvalidOption as error:
            raise InvalidOption(f"{argument}: {error}") from None
    if not is_solver(solver):
        raise InvalidOption(
            f"{argument} must be None, a name or a solver such as Clarabel(), not {solver!r}"
        )
    value: Solver = solver
    return value


def all_solvers() -> Iterator[tuple[Solver, bool, bool]]:
    """(solver, has a file of its own, is installed) of all solvers that are known by name."""
    import cvxpy as cp

    names = dict.fromkeys([*SOLVERS, *cp.installed_solvers(), *TABLE])
    for name in names:
        solver = solver_of_name(name)
        yield solver, name in SOLVERS, is_installed(solver)


def solver_names(solver: Solver) -> tuple[str, ...]:
    """A solver's name, or those of the solvers that it asks in turn."""
    inner = solver.solver if isinstance(solver, OnExecutor) else solver
    return tuple(s.name for s in inner.solvers) if isinstance(inner, FirstOf) else (inner.name,)


def choose_solver(
    solver: str | Solver | None,
    structure: Structure,
    options: Mapping[str, Any],
    argument: str = "solver",
    warm: bool = False,
) -> Solver:
    """The solver to use for programs of a structure, with the options; by a rule if None is given.

    Messages call it `argument`. If `warm`, calls start from earlier solutions.

    Raises
    ------
    UnsuitableSolver, SolverNotInstalled, InvalidOption
        Where the solver, or any if None, cannot serve.
    """
    if solver is not None:
        solver = as_solver(solver, argument)
        require(solver, structure)
        return solver.with_options(options) if options else solver
    rule = rule_for(structure)
    preferred = rule.warm if warm and rule.warm else rule.solvers
    suitable = _suitable(preferred, structure, rule.refined)
    others = (name for name, row in SOLVERS.items() if not row.on_demand)  # those of no rule
    suitable = suitable or _suitable(others, structure, rule.refined)
    if suitable:
        if is_dual_ahead(structure):
            suitable[0] = DualNewton(suitable[0])
        return _with_options(suitable, options)
    kinds = sorted({type(cone).__name__ for cone in structure.cones})
    raise UnsuitableSolver(
        f"no installed solver takes this program (cones {', '.join(kinds)}"
        f"{', integers' if structure.mixed_integer else ''}); pass solver= with one that does"
    )


def _suitable(names: Iterable[str], structure: Structure, refined: bool) -> list[Solver]:
    """The solvers that are installed and take the structure, refined if so wanted."""

    def solver(name: str) -> Solver:
        row = SOLVERS.get(name)
        return row.refined() if refined and row and row.refined else solver_of_name(name)

    solvers = map(solver, names)
    return [s for s in solvers if is_installed(s) and not missing_cones(s, structure)]


def _with_options(solvers: Iterable[Solver], options: Mapping[str, Any]) -> Solver:
    """The solvers that have the options, one after the other; InvalidOption if none has."""
    refusals: dict[str, str] = {}
    have: list[Solver] = []
    for candidate in solvers:
        if options and candidate.name not in SOLVERS and (have or refusals):
            continue  # CVXPY passes on any option: that says nothing about this one
        try:
            have.append(candidate.with_options(options))
        except InvalidOption as error:
            refusals[candidate.name] = str(error)
    if not have:
        raise InvalidOption(_refusal(refusals, options))
    return have[0] if len(have) == 1 else FirstOf(tuple(have))


def _refusal(refusals: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """One of the solvers' refusals, the most helpful, and that the others refuse too."""
    first = max(refusals, key=lambda name: "did you mean" in refusals[name])
    others = [name for name in refusals if name != first]
    names = ", ".join(sorted(repr(option) for option in options))
    return refusals[first] + (f"; nor has {' or '.join(others)} all of {names}" if others else "")
