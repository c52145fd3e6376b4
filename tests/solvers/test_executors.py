"""Executors that share work: bitwise the same results, both workers at work, what they keep."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from campaigns.faults import Asking, Faulty, layer_of, values_of
from cvxlpgd import LPGD
from cvxlpgd.errors import FailedSampleWarning, InvalidOption, SolveFailed
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import Structure
from cvxlpgd.program.threads import workers
from cvxlpgd.solvers import DAQP, SCS, Clarabel, HiGHS, Processes
from tests.helpers.recording import Recording, pids

pytestmark = pytest.mark.xdist_group("executors")  # starting workers takes longer than the tests

SECONDS = 300.0  # until a call that should return has hung
# Dask: a free port for the page that it serves, so that no two clusters want the same one
CLUSTER = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
KEYS = [3.0, 4.0, 5.0, 6.0]


@contextmanager
def standard(method: str) -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        yield pool


@contextmanager
def of_loky() -> Iterator[Executor]:
    from loky import get_reusable_executor

    pool = get_reusable_executor(2, timeout=600)  # idle workers end sooner, and are missed
    yield pool
    pool.shutdown(kill_workers=True)


@contextmanager
def of_dask() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(**CLUSTER) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@contextmanager
def one_failure_allowed() -> Iterator[Any]:
    """A client of Dask, whose scheduler gives a piece up with the first worker that it kills."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(**CLUSTER) as cluster,
        Client(cluster) as client,
    ):
        yield client


KINDS: dict[str, Any] = {
    "spawn": lambda: standard("spawn"),
    "forkserver": lambda: standard("forkserver"),
    "loky": of_loky,
    "dask": of_dask,
}


@pytest.fixture(scope="module", params=KINDS)
def executor(request):
    with KINDS[request.param]() as pool:
        yield pool


def within(seconds: float, do: Any) -> Any:
    """What `do` returns; an error where it has hung."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(do())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result(seconds)


x = cp.Variable(6)
Q, ROWS, SIZE = cp.Parameter(6), cp.Parameter((4, 6)), cp.Parameter(4)
RANDOM = np.random.default_rng(3)
FIXED = RANDOM.normal(size=(4, 6))
cone = cp.norm(FIXED @ x - 1, 2) + 0.1 * cp.norm1(x) + Q @ x
squares = cp.sum_squares(x) + Q @ x
PROBLEMS = {
    "cones": (cp.Problem(cp.Minimize(cone), [cp.norm(x, 2) <= 2]), [Q]),
    "costs": (cp.Problem(cp.Minimize(Q @ x), [FIXED @ x <= SIZE, x >= -1, x <= 1]), [Q, SIZE]),
    "rows": (cp.Problem(cp.Minimize(squares), [ROWS @ x <= SIZE]), [Q, ROWS, SIZE]),
}
CASES = {
    "refined": ("cones", None, LPGD(tau=0.1)),
    "interior point": ("cones", Clarabel(), LPGD(tau=0.1)),
    "first order": ("cones", SCS(), LPGD(tau=0.1)),
    "pivots": ("costs", HiGHS(), LPGD(tau=0.1)),
    "active sets, own matrices": ("rows", DAQP(), Asking(tau=0.1)),
    "interior point, own matrices": ("rows", Clarabel(), Asking(tau=0.1)),
}


def values(parameters: list[cp.Parameter], batch: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    drawn = [random.normal(size=(batch, *p.shape)) for p in parameters]
    return [np.abs(v) + 0.5 if p is SIZE else v for v, p in zip(drawn, parameters, strict=True)]


def layer_for(case: str, **options: Any) -> tuple[CvxpyLayer, list[np.ndarray]]:
    problem, solver, derivative = CASES[case]
    stated, parameters = PROBLEMS[problem]
    layer = CvxpyLayer(stated, parameters, [x], solver, derivative=derivative, **options)
    return layer, values(parameters)


def run(layer: CvxpyLayer, given: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs and gradients, then outputs of a call that starts from another's solution."""
    (output,), pullback = layer.vjp(*given)
    gradients = pullback(np.cos(np.arange(output.size)).reshape(output.shape))
    (first,) = layer(*given, warm_start=True)
    (warm,) = layer(given[0] + 0.01, *given[1:], warm_start=True)
    return [output, *gradients, first, warm]


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("case", CASES)
def test_results_are_bitwise_those_without_an_executor(executor, case):
    plain, given = layer_for(case)
    expected = run(plain, given)
    shared, _ = layer_for(case, executor=executor, pieces=2)
    for _ in range(2):  # the second time with what workers have kept
        results = within(SECONDS, lambda: run(shared, given))
        assert all(np.array_equal(v, w) for v, w in zip(results, expected, strict=True))
    cut, _ = layer_for(case, executor=executor, pieces=5)
    assert np.array_equal(within(SECONDS, lambda: cut(*given)[0]), expected[0])


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("case", CASES)
def test_threads_have_bitwise_the_same_results(case):
    plain, given = layer_for(case)
    expected = run(plain, given)
    with ThreadPoolExecutor(2) as pool:
        results = run(layer_for(case, executor=pool, pieces=2)[0], given)
    assert all(np.array_equal(v, w) for v, w in zip(results, expected, strict=True))


def test_both_workers_work_and_keep_what_they_prepared(executor, tmp_path, monkeypatch):
    sent = []
    state = Structure.__getstate__
    monkeypatch.setattr(Structure, "__getstate__", lambda self: sent.append(1) or state(self))
    solver = Recording(Clarabel(), str(tmp_path), together=2)
    layer = layer_of(solver, executor=executor, pieces=2)
    (_, pullback), info = within(SECONDS, lambda: (layer.vjp(*values_of(KEYS)), layer.info))
    assert len(pids(tmp_path)) == 2
    assert os.getpid() not in pids(tmp_path)
    assert info.setups.sum() == 2  # each worker's
    often = len(sent)  # Dask pickles what it sends twice
    assert often in (2, 4)
    within(SECONDS, lambda: pullback(np.ones((4, 3))))
    assert info.setups.sum() == 2  # both re-solve with what they have
    layer(*values_of([7.0, 8.0, 9.0, 10.0]))
    assert layer.info.setups.sum() == 0  # as do later calls
    assert len(sent) == often  # the structure travelled once to each
    other = layer_of(solver, executor=executor, pieces=2)  # another layer is another structure
    other(*values_of(KEYS))
    assert other.info.setups.sum() >= 1


class Inline(Executor):
    """Runs what it gets at once, pickled, in this process; notes the samples of each piece."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def submit(self, call, /, *arguments):
        piece = arguments[1]
        self.sizes.append(len(piece.data.b) if len(piece.data.b) > 1 else len(piece.data.q))
        call, arguments = pickle.loads(pickle.dumps((call, arguments)))
        future: Future[Any] = Future()
        future.set_result(pickle.loads(pickle.dumps(call(*arguments))))
        return future


@pytest.mark.parametrize("pieces", [None, 1, 3, 50])
def test_pieces_say_how_many(pieces):
    inline = Inline()
    layer = layer_of(DAQP(), executor=inline, pieces=pieces)
    keys = [1.0 + k for k in range(12)]
    assert np.array_equal(layer(*values_of(keys))[0], layer_of(DAQP())(*values_of(keys))[0])
    assert len(inline.sizes) == min(12, pieces or workers())
    assert sum(inline.sizes) == 12
    again = pickle.loads(pickle.dumps(layer))  # has neither
    assert np.array_equal(again(*values_of(keys))[0], layer(*values_of(keys))[0])


def test_pieces_are_a_number_for_an_executor():
    with ThreadPoolExecutor(1) as pool:
        for bad in (0, -1, 1.5, True, "2"):
            with pytest.raises(InvalidOption, match="pieces must be a whole number"):
                layer_of(DAQP(), executor=pool, pieces=bad)
    with pytest.raises(InvalidOption, match="needs executor="):
        layer_of(DAQP(), pieces=2)


@dataclass(frozen=True)
class Lost:
    """How an executor is lost, and what is said of its samples."""

    solver: Any
    message: str


def unsendable() -> dict[str, Lost]:
    """Solvers that pickle cannot send; a function of a module it can."""
    here = Recording(DAQP(), ".")
    return {
        "a lambda": Lost(replace(here, extra=lambda: None), "lambda.*by pickle"),
        "a lock": Lost(replace(here, extra=threading.Lock()), "lock.*by pickle"),
    }


@pytest.mark.parametrize("what", unsendable())
def test_what_cannot_be_sent_is_named(what):
    lost = unsendable()[what]
    with standard("spawn") as pool:
        layer = layer_of(lost.solver, executor=pool)
        with pytest.raises(SolveFailed, match=lost.message):
            within(SECONDS, lambda: layer(*values_of(KEYS)))
    layer = layer_of(lost.solver, executor=Processes(2))
    with pytest.raises(SolveFailed, match=lost.message):
        within(SECONDS, lambda: layer(*values_of(KEYS)))


def test_what_a_solver_leaves_may_be_unable_to_travel(executor, tmp_path):
    """A lock stays in the worker, as it did not prevent a solve there."""
    given = values_of(KEYS)
    layer = layer_of(Recording(DAQP(), str(tmp_path), leaves=threading.Lock), executor=executor)
    (shared,), _ = within(SECONDS, lambda: layer.vjp(*given))
    assert np.array_equal(shared, layer_of(DAQP())(*given)[0])
    assert pids(tmp_path)


def test_a_solver_of_a_notebook_is_named(monkeypatch):
    """Its class is in __main__, where workers do not find it: theirs is another one."""
    monkeypatch.setattr(Faulty, "__module__", "__main__")
    monkeypatch.setattr("__main__.Faulty", Faulty, raising=False)
    with standard("spawn") as pool:
        layer = layer_of(Faulty(DAQP()), executor=pool)
        with pytest.raises(SolveFailed, match="may not find Faulty in __main__: move it"):
            within(SECONDS, lambda: layer(*values_of(KEYS)))


def test_an_executor_that_is_shut_down_loses_its_samples():
    with ThreadPoolExecutor(1) as closed:
        pass
    layer = layer_of(DAQP(), executor=closed)
    with pytest.raises(SolveFailed, match=r"after shutdown.*an executor that runs"):
        layer(*values_of(KEYS))
    lenient = layer_of(DAQP(), executor=closed, on_failure="nan")
    with pytest.warns(FailedSampleWarning, match="after shutdown"):
        (output,) = lenient(*values_of(KEYS))
    assert np.isnan(output).all()


def test_an_executor_may_end_in_the_middle_of_a_call(tmp_path):
    """Pieces that wait are given up; the one that runs is finished."""
    with ThreadPoolExecutor(1) as pool:
        started = threading.Event()
        pool.submit(started.wait, SECONDS)
        layer = layer_of(DAQP(), executor=pool, pieces=2)
        call = threading.Timer(0.2, lambda: pool.shutdown(wait=False, cancel_futures=True))
        call.start()
        with pytest.raises(SolveFailed, match="executor lost it"):
            within(SECONDS, lambda: layer(*values_of(KEYS)))
        started.set()


def test_closed_processes_start_anew_in_the_middle_of_a_call(tmp_path):
    """The call that another thread closed the workers of goes on with new ones."""
    shared = Processes(3)
    layer = layer_of(Recording(DAQP(), str(tmp_path), together=3), executor=shared, pieces=2)

    def close() -> None:
        until = time.monotonic() + SECONDS
        while len(pids(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        shared.close()

    thread = threading.Thread(target=close)
    thread.start()
    (output,) = within(SECONDS, lambda: layer(*values_of(KEYS[:2])))
    thread.join()
    shared.close()
    assert np.array_equal(output, layer_of(DAQP())(*values_of(KEYS[:2]))[0])
    assert len(pids(tmp_path)) > 2


def test_dask_may_lose_a_worker_and_then_its_cluster():
    with one_failure_allowed() as client:
        pool = client.get_executor()
        killed = Faulty(DAQP(), ((4.0, "is killed at once", "forward"),))
        layer = layer_of(killed, executor=pool, pieces=2, on_failure="nan")
        with pytest.warns(FailedSampleWarning, match="1 of 4.* sample 1: failed .*KilledWorker"):
            (output,) = within(SECONDS, lambda: layer(*values_of(KEYS)))
        good = [0, 2, 3]
        expected = layer_of(DAQP())(*values_of([KEYS[k] for k in good]))[0]
        assert np.array_equal(output[good], expected)
        layer = layer_of(DAQP(), executor=pool, pieces=2)
        _, pullback = within(SECONDS, lambda: layer.vjp(*values_of(KEYS)))
        client.cluster.close()
        with pytest.raises(SolveFailed, match="no gradient for 4 of 4 samples"):
            within(SECONDS, lambda: pullback(np.ones((4, 3))))
        with pytest.raises(SolveFailed, match="executor lost it"):
            within(SECONDS, lambda: layer(*values_of(KEYS)))


def test_dask_may_be_closed_in_the_middle_of_a_call(tmp_path):
    with one_failure_allowed() as client:
        slow = Recording(DAQP(), str(tmp_path), together=3)  # which waits for a third process
        layer = layer_of(slow, executor=client.get_executor(), pieces=2)

        def close() -> None:
            until = time.monotonic() + SECONDS
            while len(pids(tmp_path)) < 2 and time.monotonic() < until:
                time.sleep(0.01)
            client.close()

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(SolveFailed, match="executor lost it"):
            within(SECONDS, lambda: layer(*values_of(KEYS)))
        thread.join()
        (tmp_path / "0").touch()  # what still runs may end
