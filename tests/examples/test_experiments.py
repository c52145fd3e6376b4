"""The experiments on decisions and policies: what they write, refuse and learn."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent


def needs(*libraries: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            pytest.skip(f"the experiment needs {library}, which is not installed")


def command(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"examples.{name}", *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)


def results(name: str, folder: Path, *options: str) -> list[dict]:
    """The runs that a command wrote, in standard JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    file = folder / "results.json"
    done = command(name, *options, "--json", str(file), "--plot", str(folder / "picture.png"))
    assert done.returncode == 0, done.stderr
    assert (folder / "picture.png").stat().st_size > 10_000
    return json.loads(file.read_text(), parse_constant=refuse)["runs"]


def test_shortest_paths_are_learned_by_every_method(tmp_path):
    needs("torch", "pyepo", "matplotlib")
    runs = results("shortest_path", tmp_path, *"--train 64 --test 32 --epochs 2 --seed 3".split())
    assert {run["method"] for run in runs} == set(
        "lpgd spo_plus fenchel_young pyepo_spo_plus pyepo_dbb pyepo_imle".split()
    )
    for run in runs:
        assert run["seed"] == 3
        assert [row["epoch"] for row in run["epochs"]] == [1, 2]
        assert all(row["seconds"] > 0 for row in run["epochs"])
        assert run["epochs"][-1]["test_regret"] < run["start"]["test_regret"]
    # the same loss on the same batches: the networks of both packages go the same way
    ours, theirs = (
        next(run["epochs"][-1]["train_loss"] for run in runs if run["method"] == name)
        for name in ("spo_plus", "pyepo_spo_plus")
    )
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_policy_is_tuned_by_both_methods(tmp_path):
    needs("torch", "skfolio", "diffcp", "piqp", "matplotlib")
    small = "--epochs 2 --rollouts 10 --search 1 --rates 0.003 0.01".split()
    runs = results("markowitz", tmp_path, *small)
    assert [run["method"] for run in runs] == ["lpgd", "exact"]
    lpgd, exact = runs
    assert lpgd["start"]["test_utility"] == pytest.approx(exact["start"]["test_utility"], rel=1e-6)
    for run in runs:
        (last,) = run["epochs"]
        assert last["epoch"] == 2
        assert last["learning_rate"] in (0.003, 0.01)
        assert last["test_utility"] != run["start"]["test_utility"]


def market(folder: Path, mu: object, cov: object) -> None:
    np.save(folder / "mu.npy", np.asarray(mu))
    np.save(folder / "cov.npy", np.asarray(cov))


@pytest.mark.parametrize(
    ("mu", "cov", "message"),
    [
        (np.zeros(11), np.eye(12), r"mu.npy must hold \(12,\) finite numbers"),
        (np.full(12, np.nan), np.eye(12), r"mu.npy must hold \(12,\) finite numbers"),
        (np.zeros(12), np.eye(12)[:, ::-1] - np.eye(12), "not symmetric and positive semidefinite"),
        (np.zeros(12), np.triu(np.ones((12, 12))), "not symmetric and positive semidefinite"),
    ],
)
def test_markets_that_cannot_be_are_refused(mu, cov, message, tmp_path):
    from examples.markowitz.market import from_files

    market(tmp_path, mu, cov)
    with pytest.raises(ValueError, match=message):
        from_files(tmp_path)


def test_a_market_is_read_from_files(tmp_path):
    from examples.markowitz.market import from_files

    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 12)) / 50
    market(tmp_path, rng.normal(size=12) / 100, root @ root.T)
    found = from_files(tmp_path)
    logs = np.log(found.returns(4000, 2, seed=1)).reshape(-1, 12)
    assert logs.mean(axis=0) == pytest.approx(found.mu, abs=5e-3)
    assert np.cov(logs.T) == pytest.approx(found.cov, abs=1e-3)
    assert found.root @ found.root == pytest.approx(
        np.outer(found.mean, found.mean) * np.expm1(found.cov)
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("markowitz", "--data nowhere", "nowhere/mu.npy does not exist"),
        ("markowitz", "--methods gradient", "no method gradient; there are lpgd, exact"),
        ("markowitz", "--from nothing.json", "No such file"),
        ("shortest_path", "--epochs -1", "must be 0 or more, not -1"),
        ("sudoku", "--from README.md", "Expecting value"),
        ("sudoku", "--quick --size 9", "--quick is for boards of size 4"),
        ("regret", "--quick --json nowhere/rows.json", "there is no folder nowhere"),
        ("shortest_path", "--plot nowhere/picture.png", "there is no folder nowhere"),
        ("shortest_path", "--pyepo-python false --methods pyepo_dbb", "PyEPO's process ended"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(name, options, message):
    needs("torch")
    done = command(name, *options.split())
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


EXPERIMENTS = ("markowitz", "regret", "shortest_path", "sudoku")


def test_quick_is_small_and_gives_way_to_what_is_set(monkeypatch):
    needs("torch")
    from examples import _experiment
    from examples.sudoku.__main__ import parser

    def parsed(words: str):
        monkeypatch.setattr(sys, "argv", ["sudoku", *words.split()])
        return _experiment.parse(parser())

    usual, quick, changed = map(parsed, ("", "--quick", "--quick --boards 7 --epochs 2"))
    assert (usual.boards, usual.epochs) == (None, 3)
    assert quick.boards < 1000
    assert quick.epochs == usual.epochs
    assert quick.methods == usual.methods
    assert (changed.boards, changed.epochs) == (7, 2)
    assert changed.batch == quick.batch


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_prints_the_table_of_the_whole(name):
    needs("torch", "pyepo", "skfolio", "piqp")
    smaller = {
        "markowitz": "--epochs 1 --search 1 --rates 0.01 --rollouts 4",
        "regret": "--epochs 1 --train 8 --validation 4 --test 4",
        "shortest_path": "--epochs 1 --train 8 --test 4",
        "sudoku": "--epochs 1 --boards 6 --tests 4",
    }[name]
    done = command(name, "--quick", "--methods", "lpgd", *smaller.split())
    assert done.returncode == 0, done.stderr
    assert "| method" in done.stdout.replace("loss    | method", "| method")
    assert "lpgd" in done.stdout.lower()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_says_what_quick_does_and_what_is_usual(name):
    needs("torch", "pyepo")
    text = " ".join(command(name, "--help").stdout.split())
    assert "less than a minute on one core" in text
    assert text.count("(default: ") >= 7
    assert "None" not in text
