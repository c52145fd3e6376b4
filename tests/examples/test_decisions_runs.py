"""The experiment on decisions: which runs there are, its files, its table."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from itertools import product

import pytest

pytest.importorskip("torch")
pytest.importorskip("pyepo")

from examples.decisions import __main__ as command_line
from examples.decisions import plan, report, runs, tasks
from examples.decisions.methods import METHODS
from tests.examples.test_experiments import ROOT, command

SMALL = "--degrees 4 --noise 0.5 --train 64 --rates 0.1 --shorter 24 --validation 8 --test 8"


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
    by_highs = {r["method"] for r in whole if (r["task"], r["solver"]) == ("tsp", "default")}
    assert by_highs == set(plan.TOURS_BY_HIGHS)
    tours = "--tasks tsp --side ours --solver default"
    (one, _) = plan.wanted(options(monkeypatch, f"{tours} --methods nce"))
    assert one["method"] == "nce"
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
        ("two_stage", "theirs"), ("spo_plus", "theirs"), ("nid", "ours"), ("nid", "theirs")
    ]  # fmt: skip
    assert results["runs"][0]["best_test_regret"] == 0.1234
    mine, same = (results["runs"][k] for k in (1, 3))
    assert mine["test_regret"] == pytest.approx(same["test_regret"], abs=1e-3)
    assert [row["steps"] for row in mine["epochs"]] == [4]
    assert picture.stat().st_size > 10_000
    assert list(tmp_path.glob("*.part")) == []
    shown = run(f"--from {file} {file} --json {other}")
    assert shown.out == both.out
    kept = json.loads(other.read_text())
    assert run(f"--from {other}").out == both.out
    for whole, short in zip(results["runs"], kept["runs"], strict=True):
        assert whole.keys() - short.keys() == {"epochs"}
        assert short["seconds"] == pytest.approx(whole["seconds"], rel=1e-5)
    results["runs"][2] |= {"failure": "no licence"}  # tried once more
    file.write_text(json.dumps(results))
    assert run(f"{words} --methods two_stage --pyepo-python {sys.executable}").code == 0
    repeated = json.loads(file.read_text())["runs"]
    assert [(r["method"], r["side"]) for r in repeated][3:] == [
        ("nid", "ours"), ("nid", "theirs"), ("two_stage", "theirs")
    ]  # fmt: skip
    assert not any("failure" in r for r in repeated)
    refused = run(f"{words} --shorter 12")
    assert refused.code == 1
    assert "has runs of other settings" in refused.err


def a_run(**more):
    values = ("shortest_path", 4, 0.5, 100, 0, "lpgd", "ours", "same", 0.1)
    usual = dict(zip(plan.KEY, values, strict=True))
    figures = dict.fromkeys(runs.FIGURES, 0.2)
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

    def ratios(figures, *what):
        return list(figures.ratios(*what).values())

    figures = report.Figures(rows)
    assert ratios(figures, "shortest_path", "ours", "lpgd", "same") == pytest.approx([4])
    assert ratios(figures, "shortest_path", "theirs", "lpgd", "same") == pytest.approx([0.5])
    # PyEPO's Gurobi is its default, ours is not; two_stage has no solver
    assert ratios(figures, "shortest_path", "theirs", "lpgd", "default") == pytest.approx([0.5])
    assert ratios(figures, "shortest_path", "ours", "lpgd", "default") == [math.inf]
    assert ratios(figures, "shortest_path", "ours", "dbb", "default") == pytest.approx([3])
    assert ratios(figures, "shortest_path", "ours", "dbb", "same") == []
    alone = report.Figures(row for row in rows if row["side"] == "ours")
    assert ratios(alone, "shortest_path", "ours", "lpgd", "same") == pytest.approx([4, 1])
    before = report.Figures((row for row in rows if row["side"] == "ours"), "validation")
    # 0.1 against 0.2, and 0.2 against 0.2
    assert ratios(before, "shortest_path", "ours", "lpgd", "same") == pytest.approx([0.5, 1])
    assert figures.seconds("shortest_path", "ours", "lpgd", "same") == 2
    assert figures.rates() == {0.02: 1, 0.1: 7}
    text = report.table({"runs": [*rows, a_run(seed=9, failure="SolveFailed: x")], "absent": ["y"]})
    line = next(line for line in text.splitlines() if line.startswith("| lpgd"))
    cells = [word.strip() for word in line.split("|")[1:-1]]
    # only the first cell is one of both packages
    assert cells[:7] == ["lpgd", "1", "4.000", "0.500", "2.000", "1.000", "2.00"]
    assert "failed, 1 runs of ours lpgd shortest_path same: SolveFailed: x" in text
    assert "left out: y" in text
    assert "regret, ours / theirs" not in text  # of a single task
    # what needs no solver is of both sets, whichever it was run with
    apart = [a_run(**base, seed=k, solver=plan.SOLVERS[k], best_test_regret=0.1) for k in (0, 1)]
    seeds = [a_run(seed=k, solver="default", backend="DAQP") for k in (0, 1)]
    for some in (apart, apart[::-1]):
        of_both = report.Figures([*some, *seeds, a_run()])
        assert len(ratios(of_both, "shortest_path", "ours", "lpgd", "default")) == 2
    # two seeds of one cell, 2 and 8: exp(std(log 2, log 8)) = exp(log 4 / sqrt 2)
    seeds = [a_run(seed=k, best_test_regret=regret) for k, regret in ((0, 0.2), (1, 0.8))]
    bases = [a_run(**base, seed=k, best_test_regret=0.1) for k in (0, 1)]
    assert "| 4.000 ÷× 2.67 " in report.table({"runs": [*seeds, *bases], "absent": []})
    both = [*rows, *(r | {"task": "tsp"} for r in rows if r["side"] == "ours")]
    text = report.table({"runs": both, "absent": []})
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| lpgd ")]
    # tasks in their order; where only one package ran, cells are all of its own
    assert [word.strip() for word in lines[-3]] == ["lpgd", "4.00 / 0.50", "2.00 / –"]
    assert "seconds, the same solver, ours / theirs" in text
    assert [word.strip() for word in lines[-2]] == ["lpgd", "2 / 1", "2 / –"]
    assert "seconds, each one's default, ours / theirs" in text
    assert [word.strip() for word in lines[-1]] == ["lpgd", "0.5 / 1", "0.5 / –"]


def test_a_training_that_leads_nowhere_is_a_failure(run, monkeypatch, tmp_path):
    def lost(job, data):
        yield {"backend": "none"}
        yield {"steps": 1, "seconds": 1.0, "train_loss": math.nan, "weights": [[math.nan] * 6] * 50}

    monkeypatch.setattr(runs.ours, "rows", lost)
    file = tmp_path / "a.json"
    done = run(f"{SMALL} --tasks portfolio --methods two_stage --side ours --seeds 1 --json {file}")
    assert done.code == 0, done.err
    (only,) = json.loads(file.read_text())["runs"]
    assert only["failure"].startswith("the decisions: ")
    assert "failed, 1 runs of ours two_stage portfolio" in done.out


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
