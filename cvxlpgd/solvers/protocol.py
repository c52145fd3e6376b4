"""What a solver declares and does, and the one way in which the library calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, to_device

from cvxlpgd.checks import is_positive
from cvxlpgd.errors import InvalidOption, SolverNotInstalled, UnsuitableSolver
from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.program.pattern import Array
from cvxlpgd.program.solution import Solution, Status
from cvxlpgd.solvers.run.certify import certified
from cvxlpgd.solvers.run.guard import guarded

# A point counts as solved up to this multiple of the accuracy asked for: solvers measure in norms
# of their own, which differ from the relative KKT residual by the sizes of Ax, s and A'y.
JUDGED_AT = 100.0
FINEST = 1e-8
COUNTS = frozenset({"max_iters", "max_iter", "iter_limit"})  # of iterations, as solvers call it
OWN = 100.0  # times that in the data's own units: there solvers do not measure


@runtime_checkable
class Solver(Protocol):
    """A frozen value: a solver and its options. A new one needs this and nothing else."""

    @property
    def name(self) -> str:
        """As users write it."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Modules that must be importable."""

    @property
    def cones(self) -> frozenset[type]:
        """Cone types it takes."""

    @property
    def quadratic(self) -> bool:
        """Whether it takes a P."""

    @property
    def integer(self) -> bool | str:
        """Whether it takes integer and boolean columns; "linear" if without a P only."""

    @property
    def arrays(self) -> str:
        """The arrays it works on: "numpy" or "torch"."""

    @property
    def accuracy(self) -> float:
        """The relative KKT residual that its options ask for."""

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options: its own names, and "eps" for all tolerances,
        "verbose", "time_limit" in seconds. Raises InvalidOption for a name it does not have.
        """

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from `start` where that helps. Never raises on a bad status.

        One that raises all the same is called again with each sample alone.
        """


def checked_options(
    name: str,
    given: Mapping[str, Any],
    known: frozenset[str],
    tolerances: tuple[str, ...],
    time_limit: str | None,
) -> dict[str, Any]:
    """The solver's own options of a mapping that may also say "eps" and "time_limit".

    Raises
    ------
    InvalidOption
        For an option that is not in `known`, a value that is neither number nor text, or a time
        limit where the solver has none.
    """
    options = dict(given)
    if "eps" in options and "eps" not in known:
        eps = options.pop("eps")
        options = dict.fromkeys(tolerances, eps) | options
    limit = options.pop("time_limit", None) if "time_limit" not in known else None
    if limit is not None:
        if time_limit is None:
            raise InvalidOption(f"{name} has no time limit; use a solver that has one")
        options[time_limit] = limit
    unknown = sorted(map(str, options.keys() - known))
    if unknown:
        close = [match for word in unknown for match in get_close_matches(word, known)]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise InvalidOption(
            f"{name} has no option {', '.join(map(repr, unknown))}; {hint}"
            f"it has eps and {', '.join(sorted(known))}"
        )
    for tolerance in tolerances:
        value = options.get(tolerance, 1.0)
        if not is_positive(value):
            raise InvalidOption(f"{name}: {tolerance} must be a positive number, not {value!r}")
    for option in COUNTS & options.keys():
        value = options[option]
        if isinstance(value, int | float | np.number) and not value >= 1:
            raise InvalidOption(f"{name}: {option} must be at least 1, not {value!r}")
    for option, value in options.items():
        if isinstance(value, list | dict | set | np.ndarray):
            raise InvalidOption(f"{name}: {option} must be a number or a text, not {value!r}")
    return options


def is_solver(value: Any) -> bool:
    """Whether it is a solver: a value, not its class, with all that the protocol asks for."""
    return not isinstance(value, type) and isinstance(value, Solver)


def is_installed(solver: Solver) -> bool:
    """Whether everything that the solver requires can be imported; imports nothing."""
    return all(find_spec(module) is not None for module in solver.requires)


def missing_cones(solver: Solver, structure: Structure) -> list[str]:
    """What of a structure the solver cannot take, in words."""
    missing = sorted({type(cone).__name__ for cone in structure.cones
                      if type(cone) not in solver.cones})  # fmt: skip
    words = [f"{cone} cones" for cone in missing]
    if structure.P.size and not solver.quadratic:
        words.append("a quadratic objective")
    if structure.mixed_integer and not solver.integer:
        words.append("integer variables")
    if structure.mixed_integer and structure.P.size and solver.integer == "linear":
        words.append("a quadratic objective of integer variables")
    return words


def require(solver: Solver, structure: Structure) -> None:
    """Raise unless the solver is installed and can take the structure.

    Raises
    ------
    SolverNotInstalled, UnsuitableSolver
    """
    if not is_installed(solver):
        modules = " ".join(solver.requires)
        raise SolverNotInstalled(
            f"{solver.name} is not installed; pip install {modules}, or choose another solver "
            "(the command `cvxlpgd solvers` lists them)"
        )
    missing = missing_cones(solver, structure)
    if missing:
        raise UnsuitableSolver(
            f"{solver.name} cannot take {' and '.join(missing)}; choose another solver, or "
            "solver=None to have one chosen"
        )


def solve(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """Solve a batch with any solver, measure the result and judge its status by the residuals."""
    if program.batch == 0:
        return _none(_moved(program, solver.arrays))
    solution = answered(solver, program, start)
    if solution.residuals is not None:  # judged by the one that solved it
        return solution
    return judged(solution, program, solver.accuracy)


def answered(solver: Solver, program: ConeProgram, start: Solution | None = None) -> Solution:
    """What a solver makes of a batch, in the program's kind of arrays.

    They are moved to the kind that the solver takes and back here, and nowhere else. "Infeasible"
    and "unbounded" need a certificate: without one the sample has failed.
    """
    moved = _moved(program, solver.arrays)
    solution = guarded(solver, moved, start and _moved_start(start, solver.arrays))
    if solution.residuals is None:
        solution = certified(solution, moved)
    points = (_to(v, program.data.q) for _, v in solution.point.items())
    return replace(solution, point=Point(*points))


def judged(solution: Solution, program: ConeProgram, accuracy: float) -> Solution:
    """The solution with its residuals, and each usable point called solved or inaccurate by them.

    A mixed-integer program has no duals: its primal residual counts, and that its solver was not
    stopped before it had proved the point to be the best.
    """
    with np.errstate(all="ignore"):
        residuals = program.residuals(solution.point)
    worst = residuals.largest
    if program.structure.mixed_integer:
        worst, none = residuals.primal, residuals.primal * np.nan
        gap = none if solution.gap is None else array_namespace(none).asarray(solution.gap)
        residuals = replace(residuals, dual=none, gap=gap)
    worst = np.asarray(to_device(worst, "cpu"))
    status = solution.status.copy()
    usable = solution.ok
    status[usable] = Status.INACCURATE
    stopped = program.structure.mixed_integer & (solution.status == Status.INACCURATE)
    least, own = JUDGED_AT * max(accuracy, FINEST), np.asarray(to_device(residuals.own, "cpu"))
    if program.structure.mixed_integer:
        own = own * 0.0
    status[usable & (worst <= least) & (own <= OWN * least) & ~stopped] = Status.SOLVED
    broken = usable & ~np.isfinite(worst)
    status[broken] = Status.FAILED
    messages = list(solution.messages)
    for i in np.flatnonzero(broken):
        messages[i] = "the solver returned NaN or infinite values"
    judged = replace(solution, status=status, residuals=residuals, messages=tuple(messages))
    return replace(judged, point=_points(judged))


def _points(solution: Solution) -> Point:
    """The points, NaN for samples that have none, whatever the solver left there."""
    if solution.ok.all():
        return solution.point
    xp = array_namespace(solution.point.x)
    ok = xp.asarray(solution.ok, device=solution.point.x.device)[:, None]
    return Point(*(xp.where(ok, v, xp.nan) for _, v in solution.point.items()))


def _none(program: ConeProgram) -> Solution:
    """The solution of no samples."""
    n, m = program.structure.n, program.structure.m
    point = Point(np.zeros((0, n)), np.zeros((0, m)), np.zeros((0, m)))
    nothing = np.zeros(0)
    return judged(Solution(point, nothing.astype(object), nothing, nothing, ()), program, 1.0)


def _moved(program: ConeProgram, arrays: str) -> ConeProgram:
    return replace(program, data=Data(*(_kind(v, arrays) for _, v in program.data.items())))


def _moved_start(start: Solution, arrays: str) -> Solution:
    return replace(start, point=Point(*(_kind(v, arrays) for _, v in start.point.items())))


def _kind(v: Array, arrays: str) -> Array:
    if arrays == "numpy" and not is_numpy_array(v):
        return np.asarray(to_device(v, "cpu"))
    if arrays == "torch" and is_numpy_array(v):
        import torch

        return torch.from_numpy(v)
    return v


def _to(v: Array, like: Array) -> Array:
    if is_numpy_array(v) and is_numpy_array(like):
        return v
    if is_numpy_array(like):
        return np.asarray(to_device(v, "cpu"))
    return array_namespace(like).asarray(v, dtype=like.dtype, device=like.device)
