"""Property: a layer's solutions are CVXPY's, or it says that they are not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning, InvalidProblem, SolveFailed
from cvxlpgd.numpy import CvxpyLayer

from .problems import Case
from .reference import VERTEX, Answer, duals_of, full, solved, violation

NEAR = 1e-5  # of the objective's size
UNIQUE = 1e-2  # of the variables' size, where the objective is strictly convex: about the root
RESIDUALS = 10.0  # objectives may differ by this multiple of what the residuals explain


@dataclass
class Outcome:
    """What became of a case: in each list, one line for each thing of that kind.

    A mismatch is a wrong answer without a word. A refusal is an error or a warning where there
    should have been an answer. A note is neither.
    """

    mismatches: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Forward:
    """A layer of a case, what it was given and returned; and the case in units of size 1."""

    case: Case
    unit: Case
    outcome: Outcome = field(default_factory=Outcome)
    layer: CvxpyLayer | None = None
    values: list[np.ndarray] = field(default_factory=list)
    outputs: tuple[np.ndarray, ...] = ()

    @property
    def variables(self) -> list[np.ndarray]:
        """The outputs that are no dual variables."""
        return list(self.outputs[: len(self.case.world.variables)])


def heard(outcome: Outcome, caught: list[warnings.WarningMessage], where: str) -> None:
    """Sort warnings: the library's are refusals, CVXPY's of its approximations are nothing."""
    for warning in caught:
        if issubclass(warning.category, CvxlpgdWarning):
            outcome.refusals.append(f"{where}: {warning.category.__name__}")
        elif "approximat" not in str(warning.message).lower():
            text = f"{warning.category.__name__}: {str(warning.message)[:150]}"
            outcome.mismatches.append(f"{where}: stray {text}")


def forward(case: Case, unit: Case) -> Forward:
    """Make a layer, call it, and hold its answer against CVXPY's."""
    world = case.world
    run = Forward(case, unit, values=[np.array(v) for v in world.values])
    if case.empty:
        rank = len(world.batch)
        run.values = [
            v[:0] if v.ndim == rank + p.ndim else v
            for v, p in zip(run.values, world.parameters, strict=True)
        ]
    world.forgotten()
    duals = [] if world.integer else duals_of(case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run.layer = CvxpyLayer(case.problem, world.parameters, [*world.variables, *duals])
            run.outputs = run.layer(*run.values)
        except SolveFailed as error:
            _judge_failure(run, error)
        except InvalidProblem as error:
            unable = solved(run.unit, 0).status == "unknown"  # CVXPY can do it no more
            (run.outcome.notes if unable else run.outcome.refusals).append(f"forward: {error}")
        except CvxlpgdError as error:
            run.outcome.refusals.append(f"forward: {type(error).__name__}: {error}")
        except Exception as error:  # whatever escapes is a finding
            run.outcome.mismatches.append(f"forward: untyped {type(error).__name__}: {error}")
    heard(run.outcome, caught, "forward")
    if run.outputs:
        _judge(run)
    return run


def _judge_failure(run: Forward, error: SolveFailed) -> None:
    """CVXPY must find the same for the first sample that failed."""
    i, status, outcome = error.samples[0], error.statuses[0], run.outcome
    found = solved(run.unit, i)
    if found.status == status:
        outcome.notes.append(f"forward: {status}")
    elif found.status == "unknown":
        outcome.notes.append("forward: unknown to CVXPY too")
    elif status == "failed":
        outcome.refusals.append(f"forward: SolveFailed, but CVXPY: {found.status}")
    elif solved(run.case, i).status == status:
        outcome.refusals.append(f"forward: {status}, as CVXPY says too in these units")
    else:
        outcome.mismatches.append(f"forward: {status}, but CVXPY: {found.status}")


def _judge(run: Forward) -> None:
    outcome, world = run.outcome, run.case.world
    info = run.layer.info
    batch, refused = info.status.shape, bool(outcome.refusals)
    if [o.shape for o in run.variables] != [batch + v.shape for v in world.variables]:
        outcome.mismatches.append(f"forward: shapes {[o.shape for o in run.outputs]}")
        return
    for i, index in enumerate(np.ndindex(batch)):
        expected = solved(run.unit, i)
        if expected.status == "unknown":
            outcome.notes.append("forward: unknown to CVXPY")
            continue
        if expected.status != "solved":
            found, second = str(info.status[index]), solved(run.unit, i, 1)
            same = second.status in ("solved", "unknown")
            (outcome.notes if same else outcome.mismatches).append(
                f"sample {i}: {found}, but CVXPY: {expected.status} and {second.status}"
            )
            continue
        texts = _differences(run, i, index, expected)
        if texts and not world.integer:  # a second opinion
            texts = _differences(run, i, index, solved(run.unit, i, 1)) and texts
        if texts and world.integer and _better(run, index, expected, texts):
            outcome.notes.append("forward: better than CVXPY's")
            texts = []
        if texts and _explained(run, i, index, expected):
            outcome.notes.append("forward: as far off as its residuals say")
            texts = []
        (outcome.notes if refused else outcome.mismatches).extend(texts)


def _better(run: Forward, index: tuple[int, ...], expected: Answer, texts: list[str]) -> bool:
    """Whether the layer's point is feasible, and better: HiGHS' presolve loses integer optima."""
    if any("violation" in text for text in texts):
        return False
    f = float(run.layer.info.objective[index]) / run.case.world.f_scale
    return (f > expected.objective) == isinstance(run.case.problem.objective, cp.Maximize)


def _differences(run: Forward, i: int, index: tuple[int, ...], expected: Answer) -> list[str]:
    """How the layer's answer differs from CVXPY's, in units of size 1."""
    world, texts = run.unit.world, []
    if expected.status != "solved":
        return []
    f_scale, x_scale = run.case.world.f_scale, run.case.world.x_scale
    f = float(run.layer.info.objective[index]) / f_scale
    mine = [o[index] / x_scale for o in run.variables]
    near = NEAR * (1 + abs(expected.objective))
    if not abs(f - expected.objective) <= near:
        texts.append(f"sample {i}: objective {f:.10g}, CVXPY {expected.objective:.10g}")
    world.at(i)
    for variable, value in zip(world.variables, mine, strict=True):
        variable.save_value(value)
    broken = violation(run.unit)
    if not broken <= max(2 * expected.violation, 1e-4):
        texts.append(f"sample {i}: violation {broken:.1e}, CVXPY's {expected.violation:.1e}")
    at = _values_nearby(run.unit)
    far = abs(at[0] - expected.objective)
    if np.isfinite(at).all() and far > 100 * near and np.ptp(at) < far / 2:
        texts.append(f"sample {i}: objective at x {at[0]:.10g}, CVXPY {expected.objective:.10g}")
    if run.case.strict:
        size = max(1.0, *(np.abs(v).max() for v in expected.values))
        for variable, found, wanted in zip(world.variables, mine, expected.values, strict=True):
            error = np.abs(found - wanted).max()
            if not error <= UNIQUE * size:
                texts.append(f"sample {i}: {variable.name()} differs by {error:.1e}")
    if run.case.plain and not run.case.world.integer:
        texts += _dual_differences(run, i, index, expected)
    return texts


def _values_nearby(case: Case) -> list[float]:
    """The objective where the variables are, and a little beside; NaN where CVXPY has no value.

    At the edge of a domain it spreads, as x'P⁻¹x does where P is singular.
    """
    found, points = [], [full(v) for v in case.world.variables]
    rng = np.random.default_rng(0)
    for step in (0.0, *[1e-7] * 6):
        for variable, point in zip(case.world.variables, points, strict=True):
            size = step * (1 + np.abs(point).max(initial=0.0))
            variable.save_value(point + size * rng.normal(size=point.shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                found.append(float(case.problem.objective.value))
            except (AssertionError, ValueError):  # of a perspective, at s = 0 or out of bounds
                found.append(np.nan)
    return found


def _dual_differences(run: Forward, i: int, index: tuple[int, ...], expected: Answer) -> list[str]:
    """Dual variables that are far off CVXPY's although those are unique: all solvers agree."""
    mine = [o[index] for o in run.outputs[len(run.case.world.variables) :]]
    size = max([1.0, *(float(np.abs(v).max(initial=0.0)) for v in expected.duals)])

    def errors(left: list[np.ndarray]) -> list[float]:
        return [
            float(np.abs(a - np.reshape(b, a.shape)).max(initial=0.0)) / size
            for a, b in zip(left, expected.duals, strict=True)
        ]

    wrong = [(k, e) for k, e in enumerate(errors(mine)) if not e <= UNIQUE]
    for asked in (1, VERTEX) if wrong else ():
        other = solved(run.unit, i, asked).duals
        if len(other) != len(expected.duals) or max(errors(other)) > 1e-4:
            return []
    return [f"sample {i}: dual {k} of {len(mine)} differs by {e:.1e}" for k, e in wrong]


def _explained(run: Forward, i: int, index: tuple[int, ...], expected: Answer) -> bool:
    """Whether the residuals of the record leave room for the difference.

    f - f* <= gap (1 + |f|) + |y|_1 primal (1 + |b|) + |x|_1 dual (1 + |q|)
    """
    if run.case.plain or run.case.world.integer:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CvxlpgdWarning)
        call = run.layer._layer.forward(run.values)
    w, z, info = call.program.data, call.solution.point, call.record
    b, q = (np.abs(v[min(i, len(v) - 1)]).max(initial=0.0) for v in (w.b, w.q))
    f = float(info.objective[index])
    room = info.gap[index] * (1 + abs(f))
    room += np.abs(z.y[i]).sum() * info.primal_residual[index] * (1 + b)
    room += np.abs(z.x[i]).sum() * info.dual_residual[index] * (1 + q)
    difference = abs(f - run.case.world.f_scale * expected.objective)
    return bool(difference <= RESIDUALS * room)
