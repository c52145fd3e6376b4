"""The floor: the bare loop over the chosen solver, doing the same solves on the same data.

What a user would write who knows the solver: objects kept, only vectors updated, the previous
solution or basis to start from, one thread for each core where the binding releases the GIL. The
arrays that go in are made before the clock starts; nothing is made of what comes out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.engines import relative_tau
from benchmarks.families import Instance
from cvxlpgd.derivatives.perturbation import without_slack
from cvxlpgd.derivatives.resolves import Perturbed
from cvxlpgd.program import ConeProgram
from cvxlpgd.program.rows import scs_cones, upper_triangle
from cvxlpgd.solvers import DAQP, SCS, Clarabel, HiGHS
from cvxlpgd.solvers.translate.bounds import Bounds
from cvxlpgd.solvers.translate.reduction import Reduced, Reduction
from cvxlpgd.torch import CvxpyLayer

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
Loop = Callable[[], None]


def floor(instance: Instance) -> Callable[[], tuple[float, float]] | None:
    """A step that returns the seconds of the forward solves and of both re-solves.

    None where the chosen solver has no loop here.
    """
    layer = CvxpyLayer(instance.problem, instance.parameters, instance.variables)._layer
    call = layer.forward(instance.values)
    solver = layer.solvers[0]
    if instance.family.kind == "integer" or solver not in _LOOPS or call.record.solver != solver:
        return None
    batch = len(instance.cotangent)
    bars = [instance.cotangent.reshape(batch, -1)]
    point = call.solution.point
    bar = layer._compiled.canonical.variables.cotangent(call.outputs, bars, point)
    z_bar = without_slack(call.program, bar)
    tau = relative_tau(instance)
    ends = [Perturbed(call.program, z_bar, sign * tau).programs() for sign in (1.0, -1.0)]
    return _LOOPS[solver](call.program, ends, call.solution)


def _timed(forward: Callable[[int], Any], backward: Callable[[int], Any], batch: int,
           parallel: bool) -> tuple[float, float]:  # fmt: skip
    """Seconds of `forward` and then `backward` for all samples."""
    begin = perf_counter()
    _each(forward, batch, parallel)
    middle = perf_counter()
    _each(backward, batch, parallel)
    return middle - begin, perf_counter() - middle


def _each(one: Callable[[int], Any], batch: int, parallel: bool) -> None:
    if not parallel or WORKERS == 1:
        for i in range(batch):
            one(i)
        return
    pieces = np.array_split(np.arange(batch), WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda piece: [one(i) for i in piece], pieces))


def _row(values: np.ndarray, i: int) -> np.ndarray:
    return values[i if len(values) > 1 else 0]


def _daqp(program: ConeProgram, ends: list[ConeProgram], solution: Any) -> Any:
    import daqp

    if not program.structure.P.size:
        return _daqp_linear(program, ends)
    reduction = Reduction.of(program.structure, Bounds.of(program))
    shared = len(program.data.P) == len(program.data.A) == 1
    reduced = [
        reduction.at(_row(program.data.P, i), _row(program.data.A, i))
        for i in range(1 if shared else program.batch)
    ]
    vectors = [
        [_vectors(reduced[0 if shared else i], p, i) for i in range(program.batch)]
        for p in (program, *ends)
    ]  # fmt: skip
    workspace = DAQP().solve(program).workspace  # the layer's solution may be another method's
    assert workspace is not None
    active = [slot.state.sense for slot in workspace]
    settings = {"primal_tol": 1e-10, "eps_prox": 0.0, "eq_reduction": -1}
    sense = np.zeros(len(active[0]), dtype=np.intc)
    first = reduction.bounded
    sense[first : first + reduction.equalities] = 5

    def run() -> tuple[float, float]:
        models: dict[int, Any] = {}

        def solve(k: int, i: int, start: np.ndarray) -> None:
            f, upper, lower = vectors[k][i]
            models[0 if shared else i].update(f=f, bupper=upper, blower=lower, sense=start.copy())
            models[0 if shared else i].solve()

        def forward(i: int) -> None:
            if (0 if shared else i) not in models:
                model = models[0 if shared else i] = daqp.Model()
                model.settings = settings
                data = reduced[0 if shared else i]
                f, upper, lower = vectors[0][i]
                model.setup(data.H, f, data.A, upper, lower, sense.copy())
            solve(0, i, sense)

        def backward(i: int) -> None:
            solve(1, i, active[i])
            solve(2, i, active[i])

        return _timed(forward, backward, program.batch, parallel=not shared)

    return run


def _vectors(reduced: Reduced, program: ConeProgram, i: int) -> list[np.ndarray]:
    """(f, upper, lower) of the i-th sample."""
    q, b = (_row(v, i)[None] for v in (program.data.q, program.data.b))
    return [v[0] for v in reduced.vectors(q, b)]


def _daqp_linear(program: ConeProgram, ends: list[ConeProgram]) -> Any:
    import daqp

    bounds, n = Bounds.of(program), program.structure.n
    A = bounds.pattern.matrix(program.data.A[0][bounds.entries]).toarray()
    sense = np.zeros(n + len(A), dtype=np.intc)
    sense[n : n + bounds.equalities] = 5
    lower, upper = bounds.limits(program.data.b[0])
    right = program.data.b[0][bounds.rows]
    left = np.where(np.arange(len(right)) < bounds.equalities, right, -np.inf)
    limits = np.concatenate([upper, right]), np.concatenate([lower, left])

    def solve(p: ConeProgram, i: int) -> None:
        q = _row(p.data.q, i).copy()
        daqp.solve(None, q, A, *limits, sense.copy(), eps_prox=1.0, primal_tol=1e-10)

    def backward(i: int) -> None:
        for end in ends:
            solve(end, i)

    def run() -> tuple[float, float]:
        return _timed(lambda i: solve(program, i), backward, program.batch, parallel=False)

    return run


def _highs(program: ConeProgram, ends: list[ConeProgram], solution: Any) -> Any:
    made = _objects(HiGHS(), program)
    states = [slot.state for slot in solution.workspace]
    columns = np.arange(program.structure.n, dtype=np.int32)
    bounds = Bounds.of(program)
    lower, upper = bounds.limits(program.data.b[0])

    def run() -> tuple[float, float]:
        objects = made()

        def solve(i: int, q: np.ndarray, basis: Any) -> None:
            solver = objects()
            solver.clearSolver()
            solver.changeColsCost(len(columns), columns, q)
            solver.changeColsBounds(len(columns), columns, lower, upper)
            solver.setOptionValue("simplex_strategy", 4 if basis else 1)
            if basis:
                solver.setBasis(basis)
            solver.run()
            solver.getSolution()

        def forward(i: int) -> None:
            solve(i, _row(program.data.q, i), None)

        def backward(i: int) -> None:
            for end in ends:
                solve(i, _row(end.data.q, i), states[i].basis)

        return _timed(forward, backward, program.batch, parallel=True)

    return run


def _objects(solver: HiGHS, program: ConeProgram) -> Any:
    """HiGHS objects with the model and its row bounds, one for each thread that asks."""
    import threading

    import highspy

    from cvxlpgd.solvers.highs.model import highs_model
    from cvxlpgd.solvers.highs.objects import set_options

    bounds, b = Bounds.of(program), program.data.b[0]
    settings = HiGHS().settings | {"presolve": "off"}
    matrices = program.data.P[0], program.data.A[0]

    def made() -> Any:
        local = threading.local()

        def mine() -> Any:
            if not hasattr(local, "solver"):
                solver: Any = highspy.Highs()
                local.solver = solver
                set_options(solver, settings)
                solver.passModel(highs_model(program.structure, bounds, *matrices))
                rows = np.arange(len(bounds.rows), dtype=np.int32)
                upper = b[bounds.rows]
                lower = np.full(len(rows), -np.inf)
                lower[: bounds.equalities] = upper[: bounds.equalities]
                solver.changeRowsBounds(len(rows), rows, lower, upper)
            return local.solver

        return mine

    return made


def _scs(program: ConeProgram, ends: list[ConeProgram], solution: Any) -> Any:
    import scs

    from cvxlpgd.solvers.scs import _measured

    structure = program.structure
    chosen, triangle = structure.P.upper
    cones = scs_cones(structure)
    settings = _measured(structure, {}) | SCS().settings
    solution = SCS().solve(program)  # to the end: a refined one has left that to Newton's method
    scales, z = [slot.state.scale for slot in solution.workspace], solution.point

    def data(p: ConeProgram, i: int) -> dict[str, Any]:
        w = p.data
        return {
            "P": triangle.matrix(_row(w.P, i)[chosen]), "A": structure.A.matrix(_row(w.A, i)),
            "c": _row(w.q, i), "b": _row(w.b, i),
        }  # fmt: skip

    batch = range(program.batch)
    forwards = [data(program, i) for i in batch]
    highs, lows = ([data(end, i) for i in batch] for end in ends)

    def forward(i: int) -> None:
        scs.SCS(forwards[i], cones, **settings).solve(warm_start=False)

    def backward(i: int) -> None:
        solver = scs.SCS(highs[i], cones, **(settings | {"scale": scales[i]}))
        warm = {"x": z.x[i], "y": z.y[i], "s": z.s[i]}
        solver.solve(warm_start=True, **warm)
        solver.update(b=lows[i]["b"], c=lows[i]["c"])
        solver.solve(warm_start=True, **warm)

    return lambda: _timed(forward, backward, program.batch, parallel=True)


def _clarabel(program: ConeProgram, ends: list[ConeProgram], solution: Any) -> Any:
    import clarabel

    from cvxlpgd.solvers.clarabel import _cone, _settings

    structure, w = program.structure, program.data
    order = upper_triangle(structure)
    entries, pattern = order.pattern(structure.A)
    chosen, triangle = structure.P.upper
    settings = _settings(clarabel, Clarabel().settings)
    cones = [_cone(clarabel, cone) for cone in structure.cones]

    def solver(p: ConeProgram, i: int) -> Any:
        return clarabel.DefaultSolver(
            triangle.matrix(_row(w.P, i)[chosen]), _row(p.data.q, i),
            pattern.matrix(_row(w.A, i)[entries]), _row(p.data.b, i)[order.rows], cones, settings,
        )  # fmt: skip

    def run() -> tuple[float, float]:
        kept: dict[int, Any] = {}

        def forward(i: int) -> None:
            kept[i] = solver(program, i)
            kept[i].solve()

        def backward(i: int) -> None:
            for end in ends:
                kept[i].update(q=_row(end.data.q, i), b=_row(end.data.b, i)[order.rows])
                kept[i].solve()

        return _timed(forward, backward, program.batch, parallel=True)

    return run


_LOOPS: dict[str, Callable[[ConeProgram, list[ConeProgram], Any], Any]] = {
    DAQP.name: _daqp,
    HiGHS.name: _highs,
    SCS.name: _scs,
    Clarabel.name: _clarabel,
}
