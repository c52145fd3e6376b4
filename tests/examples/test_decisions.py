"""The experiment on decisions: its tasks and methods, trainings in two processes, its files."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyepo")

from examples.decisions import __main__ as command_line  # noqa: E402
from examples.decisions import backends, ours, plan, report, runs, tasks, theirs  # noqa: E402
from examples.decisions.methods import EXTRA, METHODS  # noqa: E402
from examples.decisions.training import predicted, predictor, training  # noqa: E402
from tests.examples.test_experiments import ROOT, command  # noqa: E402

SMALL = "--degrees 4 --noise 0.5 --train 64 --rates 0.1 --shorter 24 --validation 8 --test 8"
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
    if find_spec("gurobipy") is None and method in plan.DEAR:
        pytest.skip("Frank-Wolfe takes minutes with SciPy, and gurobipy is not installed")
    few = {"train": 8, "samples": 1} if method in plan.DEAR else {}
    trained(theirs.rows(job(method, **few), data["shortest_path"]))


def test_cave_trains_where_gurobi_is(data):
    lines = list(theirs.rows(job("cave"), data["knapsack"]))
    if find_spec("gurobipy") is None or find_spec("clarabel") is None:
        assert "PyEPO's CaVE needs" in lines[0]["absent"]
    else:
        trained(lines)


@pytest.mark.parametrize("task", ["shortest_path", "knapsack", "knapsack_2d"])
@pytest.mark.parametrize("method", ["two_stage", "spo_plus"])
def test_the_same_loss_goes_the_same_way_in_both_packages(task, method, data):
    mine, other = (trained(side.rows(job(method), data[task])) for side in (ours, theirs))
    for a, b in zip(mine, other, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
    if method == "two_stage":
        assert mine[-1]["weights"] == other[-1]["weights"]


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
    answers = list(theirs.answers(job("nid", data="")))
    assert answers[-1] == {"failure": "RuntimeError: no licence"}
    assert list(theirs.answers(job("two_stage", data="")))[-1] == {"done": True}

    def lines():
        yield {"backend": "x"}
        raise SolveFailed("no solution")

    first, last = runs._without_errors(lines())
    assert first == {"backend": "x"}
    assert last["failure"].startswith("SolveFailed: no solution")


@pytest.mark.parametrize(("train", "steps"), [(100, 9), (64, 5), (32, 3), (20, 4), (1000, 33)])
def test_the_samples_of_a_training_are_counted(train, steps):
    seen = []

    def loss(predicted, costs):
        seen.append(len(costs))
        return predicted.square().mean()

    tensors = [torch.zeros(train, 2), torch.zeros(train, 3)]
    list(training(0, 0.1, steps, steps, tensors, loss))
    assert sum(seen) == runs.samples_seen(train, steps)


def options(monkeypatch, words=""):
    monkeypatch.setattr(sys, "argv", ["decisions", *words.split()])
    found = command_line._experiment.parse(command_line.parser())
    found.sides, found.solvers = plan.sides_of(found.side), plan.solvers_of(found.solver)
    return found


def test_the_plan_has_each_run_once_and_options_name_cells(monkeypatch):
    whole = list(plan.wanted(options(monkeypatch)))
    assert len({plan.key(run) for run in whole}) == len(whole)
    for side, method in ((side, m) for side in ("ours", "theirs") for m in METHODS):
        present = {r["task"] for r in whole if r["side"] == side and r["method"] == method}
        absent = {t for t in tasks.TASKS if METHODS[method].absent(side, t)}
        assert present == set(tasks.TASKS) - absent
    cells = {(r["degree"], r["noise"], r["train"]) for r in whole if r["task"] == "knapsack"}
    assert cells == set(product(plan.DEGREES, plan.NOISE, plan.TRAIN))
    named = list(plan.wanted(options(monkeypatch, "--degrees 6 --noise 0 --tasks tsp --seeds 1")))
    assert {(r["task"], r["degree"], r["noise"]) for r in named} == {("tsp", 6, 0.0)}
    everything = list(plan.wanted(options(monkeypatch, "--everything")))
    assert {plan.key(run) for run in everything} > {plan.key(run) for run in whole}
    quick = options(monkeypatch, "--quick --degrees 1")
    assert (quick.degrees, quick.train, quick.side) == ((1,), (100,), "both")
    assert {r["task"] for r in plan.wanted(quick)} == set(tasks.TASKS)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process."""

    def started(words):
        monkeypatch.setattr(sys, "argv", ["decisions", *words.split()])
        code = 0
        try:
            code = command_line.main()
        except SystemExit as left:
            code = left.code
        told = capsys.readouterr()
        return Namespace(code=code, out=told.out, err=told.err)

    return started


def test_both_sides_run_are_kept_and_not_repeated(run, tmp_path):
    pytest.importorskip("matplotlib")
    file, other, picture = (tmp_path / name for name in ("a.json", "b.json", "picture.png"))
    words = f"{SMALL} --tasks shortest_path --seeds 1 --solver default --json {file}"
    first = run(f"{words} --methods two_stage,spo_plus --side ours")
    assert first.code == 0, first.err
    kept = json.loads(file.read_text())
    assert [(r["method"], r["side"]) for r in kept["runs"]] == [
        ("two_stage", "ours"), ("spo_plus", "ours")
    ]  # fmt: skip
    kept["runs"][0]["best_test_regret"] = 0.1234  # to be seen again, if the run is not repeated
    file.write_text(json.dumps(kept))
    both = run(f"{words} --methods two_stage,spo_plus,nid --pyepo-python {sys.executable} "
               f"--plot {picture}")  # fmt: skip
    assert both.code == 0, both.err
    results = json.loads(file.read_text())
    assert [(r["method"], r["side"]) for r in results["runs"]][2:] == [
        ("two_stage", "theirs"), ("spo_plus", "theirs"), ("nid", "theirs")
    ]  # fmt: skip
    assert results["runs"][0]["best_test_regret"] == 0.1234
    mine, same = (results["runs"][k] for k in (1, 3))
    assert mine["test_regret"] == pytest.approx(same["test_regret"], abs=1e-3)
    assert [row["steps"] for row in mine["epochs"]] == [4]
    assert picture.stat().st_size > 10_000
    assert list(tmp_path.glob("*.part")) == []
    shown = run(f"--from {file} {file} --json {other}")
    assert shown.out == both.out
    assert json.loads(other.read_text()) == results
    refused = run(f"{words} --shorter 12")
    assert refused.code == 1
    assert "has runs of other settings" in refused.err


def a_run(**more):
    values = ("shortest_path", 4, 0.5, 100, 0, "lpgd", "ours", "same", 0.1)
    usual = dict(zip(plan.KEY, values, strict=True))
    figures = dict.fromkeys(runs.FIGURES, 0.2) | {"best_validation_regret": 0.2}
    return {**usual, **figures, "backend": "GUROBI", "seconds": 2.0, "samples_seen": 1000, **more}


def test_the_table_compares_in_the_same_cells_by_what_validation_prefers():
    base = {"method": "two_stage", "backend": "none"}
    rows = [
        a_run(**base, best_test_regret=0.1),
        a_run(**base, seed=1, best_test_regret=1e-5),  # counts as 1e-3
        a_run(best_test_regret=0.2),
        a_run(rate=0.02, best_test_regret=0.4, best_validation_regret=0.1),
        a_run(seed=1, best_test_regret=1e-3),
        a_run(seed=2, best_test_regret=7.0),  # no cell of two_stage
        a_run(side="theirs", best_test_regret=0.05, seconds=1.0),
        a_run(solver="default", backend="DAQP", best_test_regret=None, seconds=0.5),
        a_run(solver="default", backend="DAQP", method="dbb", best_test_regret=0.3),
    ]
    figures = report.Figures(rows)
    assert figures.ratios("shortest_path", "ours", "lpgd", "same") == pytest.approx([4, 1])
    assert figures.ratios("shortest_path", "theirs", "lpgd", "same") == pytest.approx([0.5])
    # PyEPO's Gurobi is its default, ours is not; two_stage has no solver
    assert figures.ratios("shortest_path", "theirs", "lpgd", "default") == pytest.approx([0.5])
    assert figures.ratios("shortest_path", "ours", "lpgd", "default") == [math.inf]
    assert figures.ratios("shortest_path", "ours", "dbb", "default") == pytest.approx([3])
    assert figures.ratios("shortest_path", "ours", "dbb", "same") == []
    assert figures.seconds("shortest_path", "ours", "lpgd", "same") == 2
    text = report.table({"runs": [*rows, a_run(seed=9, failure="SolveFailed: x")], "absent": ["y"]})
    line = next(line for line in text.splitlines() if line.startswith("| lpgd"))
    cells = [word.strip() for word in line.split("|")[1:-1]]
    assert cells[:6] == ["lpgd", "2.000 ÷× 2.67", "0.500", "2.000", "1.000", "2.00"]
    assert "failed, 1 runs of ours lpgd shortest_path same: SolveFailed: x" in text
    assert "left out: y" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("runs"), "has no runs"),
        (lambda r: r["runs"][0].pop("side"), "has a run without side"),
        (lambda r: r["runs"][0].pop("best_test_regret"), "has a run without best_test_regret"),
        (lambda r: r.update(settings={}), "runs of different settings"),
    ],
)
def test_files_that_are_not_whole_are_refused(change, message, run, tmp_path):
    file, good = tmp_path / "a.json", tmp_path / "b.json"
    results = {"settings": {"test": 1}, "absent": [], "runs": [a_run()]}
    good.write_text(json.dumps(results))
    change(results)
    file.write_text(json.dumps(results))
    done = run(f"--from {good} {file}")
    assert done.code == 1
    assert message in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--methods spo", "no method spo; there are two_stage, spo_plus"),
        ("--tasks paths", "no task paths; there are shortest_path"),
        ("--degrees 2", "no 2; there are 1,4,6"),
        ("--noise x", "x is not a list of numbers"),
        ("--train 0", "no 0; there are 1 to 1000"),
        ("--rates 0", "no 0; there are positive numbers"),
        ("--seed -1", "the first seed must be 0 or more"),
        ("--side theirs", "nothing is left to run: without --pyepo-python"),
        (f"--from {ROOT}/README.md", "Expecting value"),
        (f"--from {ROOT}/docs/results/regret.json", "has no absent, settings"),
        ("--json nowhere/rows.json", "there is no folder nowhere"),
        (f"{SMALL} --tasks shortest_path --side theirs --pyepo-python false", "process ended"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(words, message, run):
    done = run(words)
    assert done.code in (1, 2)
    assert message in done.err
    assert "Traceback" not in done.err


def test_quick_prints_a_table_without_pyepo_and_help_says_what_it_does():
    done = command("decisions", *"--quick --tasks shortest_path --test 10".split())
    assert done.returncode == 0, done.stderr
    assert "shortest_path, 1 cells and seeds" in done.stdout
    assert "left out: without --pyepo-python, PyEPO's squared error" in done.stdout
    text = " ".join(command("decisions", "--help").stdout.split())
    assert "at most two minutes on two cores" in text
    assert "expires" in text
    assert text.count("(default: ") >= 15
    assert "None" not in text
