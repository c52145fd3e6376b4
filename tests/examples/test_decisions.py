"""The experiment on decisions: its tasks, its methods, trainings in both packages."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyepo")

from examples.decisions import backends, ours, plan, runs, tasks, theirs  # noqa: E402
from examples.decisions.methods import EXTRA, METHODS  # noqa: E402
from examples.decisions.peer import Peer  # noqa: E402
from examples.decisions.training import predicted, predictor, training  # noqa: E402

COMBINATORIAL = [task for task in tasks.TASKS if task != "portfolio"]


@pytest.fixture(scope="module")
def data():
    """{task: small data}"""
    return {t: tasks.data(t, 4, 0.5, 3, 8, 8, ours.solved) for t in tasks.TASKS if t != "tsp"}


def job(method, **more):
    return {"method": method, "solver": "default", "train": 32, "seed": 3, "rate": 0.1,
            "steps": 4, "every": 2, "samples": 2, **more}  # fmt: skip


def trained(lines):
    """The rows of a training, which must have been one."""
    first, *rows = lines
    assert set(first) == {"backend"}
    assert [row["steps"] for row in rows] == [2, 4]
    assert all(math.isfinite(row["train_loss"]) and row["seconds"] > 0 for row in rows)
    return rows


def test_every_method_of_the_list_is_there_and_no_other():
    named = METHODS | EXTRA
    assert {name for name, method in named.items() if method.ours} == set(ours.LOSSES)
    assert {name for name, method in named.items() if method.theirs} == set(theirs.LOSSES)


def test_every_method_of_pyepo_is_compared():
    import pyepo.func

    kinds = {
        kind
        for kind in vars(pyepo.func).values()
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module)
    }
    words = (method.theirs.split()[0].rstrip(",") for method in METHODS.values() if method.theirs)
    compared = {getattr(pyepo.func, word) for word in words if word != "squared"}
    # noise that multiplies is for costs of a known sign, which a linear predictor does not keep
    assert kinds - compared == {pyepo.func.perturbedOptMul, pyepo.func.perturbedFenchelYoungMul}


def test_both_processes_have_the_same_data(data, tmp_path):
    for task, mine in data.items():
        mine.save(tmp_path / "data.npz")
        other = tasks.Data.load(tmp_path / "data.npz")
        assert other.task == task
        for name in ("features", "costs", "best"):
            assert torch.equal(getattr(mine, name), getattr(other, name))
        assert np.array_equal(mine.fixed, other.fixed)
        assert mine.costs[: tasks.TRAIN].abs().mean() == pytest.approx(1, rel=1e-5)
        assert len(mine.costs) == tasks.TRAIN + 16


def test_all_paths_and_tours_and_packings_are_looked_at():
    paths, tours = tasks.vertices("shortest_path"), tasks.vertices("tsp")
    assert paths.shape == (math.comb(8, 4), 40)
    assert tours.shape == (math.factorial(tasks.NODES - 1) // 2, 45)
    A, b = ours.grid.flow()
    assert np.array_equal(paths @ A.T, np.tile(b, (len(paths), 1)))
    at = np.array([[v in edge for edge in tasks.edges()] for v in range(tasks.NODES)], dtype=float)
    assert (tours @ at.T == 2).all()
    for vertices in (paths, tours):
        assert len(np.unique(vertices, axis=0)) == len(vertices)
    weights = np.random.default_rng(0).uniform(3, 8, (2, 9))
    items = np.array(list(product((0.0, 1.0), repeat=9)))
    within = items[(items @ weights.T <= tasks.CAPACITY).all(1)]
    packings = tasks.vertices("knapsack_2d", weights.tobytes(), weights.shape)
    assert {tuple(x) for x in packings} == {tuple(x) for x in within}


@pytest.mark.parametrize("task", COMBINATORIAL)
def test_layers_and_peers_models_decide_as_well_as_the_best_of_all(task):
    """Not by the same decision, where several are optimal."""
    _, costs, fixed = tasks.generated(task, 6, 0.5, 3, 1)
    costs = torch.tensor(costs)
    costs[0] *= -1  # predictions may have any sign
    best = (costs * tasks.enumerated(task, fixed, costs)).sum(1)
    whole, cost, x = ours.problem(task, fixed)
    (solved,) = ours.CvxpyLayer(whole, [cost], [x])(costs)
    assert (costs * solved).sum(1) == pytest.approx(best, rel=1e-4)
    models = [backends.scipy_model(task, fixed)]
    models += [backends.model(task, fixed, "same")[0]] if find_spec("gurobipy") else []
    for model, k in product(models, range(3)):
        model.setObj(costs[k].numpy())
        x, value = model.solve()
        assert value == pytest.approx(float(best[k]), rel=1e-4)
        assert float(costs[k].numpy() @ x) == pytest.approx(value, rel=1e-4)


def test_portfolios_keep_to_the_generators_risk(data):
    from pyepo.data.portfolio import genData

    covariance, _, _ = genData(4, tasks.FEATURES, tasks.ASSETS, deg=4, noise_level=1.0, seed=3)
    x = data["portfolio"].best.double().numpy()
    risk = np.einsum("bi,ij,bj->b", x, covariance, x)
    assert risk.max() == pytest.approx(2.25 * covariance.mean(), rel=1e-5)
    assert x.sum(1) == pytest.approx(1, abs=1e-5)
    assert x.min() >= -1e-6


def test_regret_is_that_of_pyepo(data):
    for task, sign in (("shortest_path", 1), ("knapsack", -1)):
        mine, part = data[task], slice(0, 8)
        other = mine.best.roll(1, 0)[part]
        values, reached = ((mine.costs[part] * x).sum(1) for x in (mine.best[part], other))
        assert (sign * (reached - values) >= 0).all()
        expected = (reached - values).abs().sum() / values.abs().sum()
        assert mine.regret(other, part) == pytest.approx(float(expected), rel=1e-5)
        assert mine.regret(mine.best[part], part) == 0


# some decisions are right already, and have no gradient
@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.DegenerateGradientWarning")
@pytest.mark.parametrize("method", ours.LOSSES)
def test_our_methods_train(method, data):
    task = "shortest_path"
    rows = trained(ours.rows(job(method), data[task]))
    start = predictor(tasks.FEATURES, 40, 3)
    features = data[task].features[:5]
    assert not torch.allclose(predicted(rows[-1]["weights"], features), start(features), atol=1e-3)


@pytest.mark.parametrize("method", [m for m in theirs.LOSSES if m != "cave"])
def test_their_methods_train(method, data):
    if find_spec("gurobipy") is None and method in plan.DEAR["theirs"]:
        pytest.skip("Frank-Wolfe takes minutes with SciPy, and gurobipy is not installed")
    few = {"train": 8, "samples": 1} if method in plan.DEAR["theirs"] else {}
    rows = trained(theirs.rows(job(method, **few), data["shortest_path"]))
    features, start = data["shortest_path"].features[:5], predictor(tasks.FEATURES, 40, 3)
    assert not torch.allclose(predicted(rows[-1]["weights"], features), start(features), atol=1e-3)


def test_cave_trains_where_gurobi_is(data):
    lines = list(theirs.rows(job("cave"), data["knapsack"]))
    if find_spec("gurobipy") is None or find_spec("clarabel") is None:
        assert "PyEPO's CaVE needs" in lines[0]["absent"]
    else:
        trained(lines)


@pytest.mark.parametrize("task", ["shortest_path", "knapsack", "knapsack_2d"])
@pytest.mark.parametrize("method", ["two_stage", "spo_plus", "nid"])
def test_the_same_loss_goes_the_same_way_in_both_packages(task, method, data):
    mine, other = (trained(side.rows(job(method), data[task])) for side in (ours, theirs))
    for a, b in zip(mine, other, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
    if method == "two_stage":
        assert mine[-1]["weights"] == other[-1]["weights"]


@pytest.mark.parametrize("task", ["shortest_path", "knapsack", "portfolio"])
@pytest.mark.parametrize("method", ["nce", "map", "listwise", "pairwise", "pointwise"])
def test_losses_over_the_same_pool_go_the_same_way(task, method, data, monkeypatch):
    if theirs.absent(task, "default", method):
        pytest.skip(theirs.absent(task, "default", method))
    for side in (ours, theirs):  # whose generators say when to solve, which changes the pool
        monkeypatch.setattr(side, "SOLVE_RATIO", 0.0)
    mine, other = (trained(side.rows(job(method), data[task])) for side in (ours, theirs))
    for a, b in zip(mine, other, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)


@pytest.mark.parametrize("task", ["shortest_path", "knapsack"])
def test_the_perturbation_gradient_is_the_upper_envelopes(task, data):
    mine, other = (trained(side.rows(job("envelope"), data[task])) for side in (ours, theirs))
    for a, b in zip(mine, other, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)


def test_a_solver_that_fails_ends_the_run_and_no_other(data, monkeypatch):
    from cvxlpgd.errors import SolveFailed

    def fails(setting):
        raise RuntimeError("no licence")

    monkeypatch.setitem(theirs.LOSSES, "nid", fails)
    monkeypatch.setattr(theirs, "_data", lambda file: data["shortest_path"])
    *_, failure, last = theirs.answers(job("nid", data=""))
    assert failure == {"failure": "RuntimeError: no licence"}
    assert last == {"done": True}
    assert list(theirs.answers(job("two_stage", data="")))[-1] == {"done": True}

    def lines():
        yield {"backend": "x"}
        raise SolveFailed("no solution")

    first, last = runs._without_errors(lines())
    assert first == {"backend": "x"}
    assert last["failure"].startswith("SolveFailed: no solution")


def test_what_pyepo_cannot_run_here_is_an_answer(data, monkeypatch):
    monkeypatch.setattr(theirs, "absent", lambda *what: "no licence")
    monkeypatch.setattr(theirs, "_data", lambda file: data["shortest_path"])
    assert list(theirs.answers(job("nid", data=""))) == [{"absent": "no licence"}, {"done": True}]


def test_one_process_answers_many_jobs_in_turn(data, tmp_path):
    file = tmp_path / "data.npz"
    data["shortest_path"].save(file)
    good, bad = job("two_stage", data=str(file)), job("imle", data=str(file), samples=0)
    with Peer(sys.executable) as peer:
        answers = [list(peer.answers(each)) for each in (bad, good, bad, good)]
    for rows in answers[::2]:
        assert "n_samples must be a positive" in rows[-1]["failure"]
    first, second = (trained(rows)[-1] for rows in answers[1::2])
    assert first["weights"] == second["weights"]


@pytest.mark.parametrize(("train", "steps"), [(100, 9), (64, 5), (32, 3), (20, 4), (1000, 33)])
def test_the_samples_of_a_training_are_counted(train, steps):
    seen = []

    def loss(predicted, costs):
        seen.append(len(costs))
        return predicted.square().mean()

    tensors = [torch.zeros(train, 2), torch.zeros(train, 3)]
    list(training(0, 0.1, steps, steps, tensors, loss))
    assert sum(seen) == runs.samples_seen(train, steps)
