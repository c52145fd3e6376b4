"""A solver that fails on demand, by the public protocol; and a command that lets it fail at random.

python -m campaigns.faults [--count N] [--seed S] [--processes]
"""

from __future__ import annotations

import argparse
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
from tabulate import tabulate

from cvxlpgd import LPGD
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import CvxlpgdWarning
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import DAQP, OSQP, PIQP, SCS, Answer, Clarabel, HiGHS, Processes, solve_each


class PanicException(BaseException):
    """What a panic of a solver in Rust is in Python."""


def raises(error: BaseException) -> Callable[[Answer], Answer]:
    def fault(answer: Answer) -> Answer:
        raise error

    return fault


def dies(number: int) -> Callable[[Answer], Answer]:
    def fault(answer: Answer) -> Answer:
        os.kill(os.getpid(), number)
        return answer

    return fault


# what becomes of an honest answer, and the status that its sample must have
FAULTS: dict[str, tuple[Callable[[Answer], Any], str]] = {
    "raises": (raises(RuntimeError("out of luck")), "failed"),
    "raises OSError": (raises(OSError("no such file")), "failed"),
    "panics in Rust": (raises(PanicException("assertion failed")), "failed"),
    "raises MemoryError": (raises(MemoryError()), "failed"),
    "returns None": (lambda a: None, "failed"),
    "NaN": (lambda a: a._replace(x=a.x * np.nan), "failed"),
    "infinite": (lambda a: a._replace(x=a.x + np.inf), "failed"),
    "NaN dual": (lambda a: a._replace(y=a.y * np.nan), "failed"),
    "wrong point": (lambda a: a._replace(x=a.x + 0.1), "inaccurate"),
    "wrong dual": (lambda a: a._replace(y=a.y + 0.1), "inaccurate"),
    "wrong status": (lambda a: a._replace(status=Status.INFEASIBLE), "failed"),
    "unknown status": (lambda a: a._replace(status="optimal"), "failed"),
    "no point": (lambda a: Answer(Status.SOLVED), "failed"),
    "too short": (lambda a: a._replace(x=a.x[:-1]), "failed"),
    "a scalar": (lambda a: a._replace(x=a.x[0]), "failed"),
    "a matrix": (lambda a: a._replace(s=a.s[None]), "failed"),
}
FATAL: dict[str, tuple[Callable[[Answer], Any], str]] = {  # survived in processes only
    "exits": (lambda a: os._exit(3), "failed"),
    "is killed": (dies(signal.SIGTERM), "failed"),
    "is killed at once": (dies(signal.SIGKILL), "failed"),
    "crashes": (dies(signal.SIGABRT), "failed"),
    "hangs": (lambda a: time.sleep(3600), "failed"),
}
EVERY = FAULTS | FATAL


@dataclass(frozen=True)
class Faulty:
    """`inner`, except on programs whose b[0] is listed: (b[0], fault, "forward" or "backward").

    With `whole` it is a solver of whole batches: one sample that raises fails them all.
    """

    inner: Any
    faults: tuple[tuple[float, str, str], ...] = ()
    whole: bool = False
    limit: float | None = None
    name = "FAULTY"
    requires = ("numpy",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    integer = False
    arrays = "numpy"

    @property
    def accuracy(self) -> float:
        return self.inner.accuracy

    def with_options(self, options: Mapping[str, Any]) -> Faulty:
        return replace(self, limit=options.get("time_limit"))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        when = "forward" if start is None else "backward"
        faults = {key: fault for key, fault, time in self.faults if time == when}

        def one(i: int) -> Answer:
            alone = np.array([i])
            found = self.inner.solve(program.take(alone), start and start.take(alone))
            vectors = (v[0] for _, v in found.point.items())
            answer = Answer(found.status[0], *vectors, message=found.messages[0])
            fault = faults.get(float(abs(program.data.b[i if len(program.data.b) > 1 else 0, 0])))
            return EVERY[fault][0](answer) if fault else answer

        if not self.whole:
            return solve_each(program, one, parallel=False)
        answers = [one(i) for i in range(program.batch)]
        point = Point(*(np.stack([getattr(a, k) for a in answers]) for k in ("x", "y", "s")))
        status, none = np.array([a.status for a in answers], dtype=object), np.zeros(len(answers))
        return Solution(point, status, none, none, tuple(a.message for a in answers))


A, KEY, X = cp.Parameter(3, name="a"), cp.Parameter(name="key"), cp.Variable(3)
PROBLEM = cp.Problem(cp.Minimize(cp.sum_squares(X) - 2 * A @ X), [cp.sum(X) == KEY, X >= -2])


@dataclass(frozen=True)
class Asking(LPGD):
    """LPGD that asks the layer's solver for all perturbed programs, by whatever else they could be
    solved.
    """

    def bind(self, structure: Any, solver: Any, batch_shape: tuple[int, ...]) -> Any:
        """As LPGD."""
        return replace(LPGD.bind(self, structure, solver, batch_shape), by_path=False)


def layer_of(solver: Any, **options: Any) -> CvxpyLayer:
    """The projection of a on {sum(x) = key, x >= -2}; b[0] is the key, forward and backward."""
    return CvxpyLayer(
        PROBLEM, [A, KEY], [X], solver, **({"derivative": Asking(tau=0.01)} | options)
    )


def values_of(keys: Sequence[float]) -> list[np.ndarray]:
    """A sample's values follow from its key."""
    rows = [np.random.default_rng(int(8 * key)).normal(size=3) for key in keys]
    return [np.array(rows), np.array(keys, dtype=float)]


def run(layer: CvxpyLayer, keys: Sequence[float]) -> list[np.ndarray]:
    """Outputs and gradients (batch, ...) of the samples with these keys, its warnings unsaid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CvxlpgdWarning)
        (x,), pullback = layer.vjp(*values_of(keys))
        return [x, *pullback(np.cos(np.arange(3.0) + np.array(keys)[:, None]))]


def complaints(
    inner: Any, faults: Mapping[float, tuple[str, str]], keys: Sequence[float], **options: Any
) -> list[str]:
    """What is wrong after faults at some of these keys: {key: (fault, when)}; nothing should be."""
    whole = options.pop("whole", False)
    listed = tuple((key, *fault) for key, fault in faults.items())
    layer = layer_of(Faulty(inner, listed, whole), on_failure="nan", **options)
    found, info = run(layer, keys), layer.info
    good = [i for i, key in enumerate(keys) if key not in faults]
    said = []
    expected = run(layer_of(Faulty(inner)), [keys[i] for i in good]) if good else []
    for what, value, honest in zip(("x", "a_bar", "key_bar"), found, expected, strict=False):
        if not np.array_equal(value[good], honest):
            said.append(f"{what} of a healthy sample changed")
    if not all(info.status[i] == "solved" for i in good):
        said.append("a healthy sample is not solved")
    for i in set(range(len(keys))) - set(good):
        said += _of_faulty(EVERY[faults[keys[i]][0]][1], faults[keys[i]][1], i, found, info)
    others = [key + 0.5 for key in keys]  # which nothing is wrong with
    again, honest = run(layer, others), run(layer_of(Faulty(inner)), others)
    if not all(np.array_equal(v, w) for v, w in zip(again, honest, strict=True)):
        said.append("the next call is poisoned")
    return said


def _of_faulty(expected: str, when: str, i: int, found: list[np.ndarray], info: Any) -> list[str]:
    """What is wrong with a faulty sample."""
    x, usable = found[0][i], expected == "inaccurate"
    status = expected if when == "forward" else "solved"
    said = [f"status {info.status[i]}, not {status}"] if info.status[i] != status else []
    if np.isnan(x).any() != (when == "forward" and not usable):
        said.append(f"its row is {x}")
    if not all(np.isfinite(v[i]).all() for v in found[1:]):
        said.append("its gradient is not finite")
    if not usable and (
        any(v[i].any() for v in found[1:]) or (when == "backward") == info.differentiated[i]
    ):
        said.append("its gradient is not 0, or said to be one")
    return said


def main() -> int:
    """Random batches with random faults; a row for each kind of fault."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", action="store_true", help="crashes and hangs too: slow")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    solvers = [DAQP(), PIQP(), OSQP(), HiGHS(), Clarabel(), SCS()]
    kinds = list(EVERY if args.processes else FAULTS)
    options = {"executor": Processes(2, grace=3.0), "time_limit": 0.5} if args.processes else {}
    injected, wrong, batches = Counter[str](), Counter[str](), 0
    while injected.total() < args.count:
        keys = [float(k) for k in rng.choice(np.arange(1, 100), rng.integers(1, 7), replace=False)]
        sick = keys[: min(int(rng.integers(1, len(keys) + 1)), args.count - injected.total())]
        rng.shuffle(keys)
        faults = {
            k: (str(rng.choice(kinds)), str(rng.choice(["forward", "backward"]))) for k in sick
        }
        inner = solvers[rng.integers(len(solvers))]
        said = complaints(inner, faults, keys, whole=bool(rng.integers(2)), **options)
        for kind, when in faults.values():
            injected[f"{kind}, {when}"] += 1
            wrong[f"{kind}, {when}"] += bool(said)
        if said:
            print(f"{inner.name}, keys {keys}, faults {faults}: {'; '.join(said)}")
        batches += 1
    rows = [(kind, count, wrong[kind]) for kind, count in sorted(injected.items())]
    rows.append((f"all, in {batches} batches", injected.total(), wrong.total()))
    print(tabulate(rows, headers=["fault", "injected", "in batches that went wrong"]))
    return int(wrong.total() > 0)


if __name__ == "__main__":
    raise SystemExit(main())
