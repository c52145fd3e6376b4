"""The experiments on unrolled schemes: their operator and data, trainings, files of results."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch

from examples import _experiment
from examples.unrolled import deconvolution, experiment, training
from examples.unrolled.methods import TRAINED, build, count
from examples.unrolled.samples import Sets
from examples.unrolled.volterra import (
    NOISE,
    STRIDE,
    TRAIN,
    VALIDATION,
    WIDTH,
    M,
    N,
    Volterra,
    reference,
)  # fmt: skip
from tests.examples.test_experiments import ROOT, command

DIGEST = [0.10908735013358858, 0.025375577096425503, -0.6296264760552092, -1.2382307948312503]


@pytest.fixture(scope="module")
def arrays():
    return reference()


def test_the_reference_arrays_are_those_that_figures_were_made_with(arrays):
    """Up to the last bits of the platform's logarithms."""
    again = reference()
    for name in ("w1", "W2", "signals", "noise"):
        assert np.array_equal(getattr(arrays, name), getattr(again, name))
    assert arrays.w1.sum() == pytest.approx(1)
    assert arrays.W2.sum() == pytest.approx(1)
    assert np.array_equal(arrays.W2, np.triu(arrays.W2))
    assert (arrays.signals.min(axis=1) == -1).all()
    assert (arrays.signals.max(axis=1) == 1).all()
    digest = [arrays.w1[0], arrays.W2[2, 3], arrays.signals[7, 20], arrays.noise[-1, -1]]
    assert digest == pytest.approx(DIGEST, rel=1e-12)


@pytest.mark.parametrize("a", [0.0, 1.0, 4.0])
def test_the_operator_is_its_formula_and_its_vjp_that_of_differences(a, arrays):
    operator = Volterra(a, arrays.w1, arrays.W2).double()
    x, u, h = (torch.tensor(part) for part in (*arrays.signals[:2], arrays.noise[0]))
    windows = torch.stack([x[STRIDE * i : STRIDE * i + WIDTH] for i in range(M)])
    W2, w1 = operator.W2, operator.w1
    by_hand = torch.stack([a * z @ W2 @ z + w1 @ z for z in windows])
    torch.testing.assert_close(operator(x[None])[0], by_hand)
    at = x[None].clone().requires_grad_()
    (pulled,) = torch.autograd.grad((operator(at) * h).sum(), at)
    difference = (operator((x + 1e-6 * u)[None]) - operator((x - 1e-6 * u)[None])) / 2e-6
    assert float(pulled[0] @ u) == pytest.approx(float((difference[0] * h).sum()), rel=1e-6)
    rows = torch.zeros(M, N, dtype=torch.float64)  # a (W2 + W2')z + w1
    for i, z in enumerate(windows):
        rows[i, STRIDE * i : STRIDE * i + WIDTH] = a * (W2 + W2.T) @ z + w1
    torch.testing.assert_close(pulled[0], h @ rows)


def test_samples_are_disjoint_and_their_noise_is_what_it_says(arrays):
    _, few = deconvolution.samples(1.0, 50)
    operator, sets = deconvolution.samples(1.0, TRAIN)
    assert torch.equal(few.train.data, sets.train.data[:50])
    assert torch.equal(few.test.data, sets.test.data)
    assert len(sets.train.data) == TRAIN
    assert len(sets.validation.data) == VALIDATION
    noise = sets.test.data - operator(sets.test.truth)
    assert float(noise.std() / sets.train.data.std()) == pytest.approx(NOISE, rel=0.05)
    assert torch.equal(few.test.start[0], few.train.truth.mean(0))


def made(a=1.0, n_train=24):
    problem, sets = deconvolution.made({"a": a, "n_train": n_train}, Namespace())
    return problem, Sets(sets.train, sets.validation[:20], sets.test[:20])


@pytest.mark.parametrize("method", TRAINED)
def test_untrained_schemes_begin_at_the_mean(method):
    torch.manual_seed(0)
    problem, sets = made()
    scheme = build(method, problem)
    if method == "prox":
        assert count(scheme) == 2 * scheme.iterations
    else:
        assert training.mse(scheme, sets.test) == pytest.approx(
            experiment.mean_signal(sets), rel=1e-6
        )


@pytest.mark.parametrize("scheme", ["lpgd", "lpd"])
def test_the_control_has_as_many_parameters(scheme):
    problem, _ = made()
    ours, control = (count(build(f"{scheme}_{kind}", problem)) for kind in ("rma", "wide"))
    assert abs(control - ours) <= 0.05 * ours


@pytest.mark.parametrize("method", ["lpgd_rma", "lpd_ma", "prox"])
def test_a_training_is_repeatable_and_improves(method):
    problem, sets = made()
    runs = [training.train(method, problem, sets, 3, 2, batch=4) for _ in range(2)]
    for run in runs:
        assert run.pop("seconds") > 0
    assert runs[0] == runs[1]
    (run, _) = runs
    assert [row["epoch"] for row in run["curve"]] == [0, 1, 2]
    assert run["validation_mse"] == min(row["validation_mse"] for row in run["curve"])
    assert run["validation_mse"] < run["curve"][0]["validation_mse"]
    assert np.shape(run["estimates"]) == (training.SHOWN, N)
    assert not run["diverged"]


def test_what_is_no_longer_finite_has_diverged_and_the_weights_before_are_tested(monkeypatch):
    problem, sets = made()
    monkeypatch.setattr(training, "RATE", 1e12)
    run = training.train("lpgd", problem, sets, 0, 3, batch=8)
    assert run["diverged"]
    assert run["epoch"] == 0
    assert run["test_mse"] == pytest.approx(experiment.mean_signal(sets), rel=1e-6)
    assert len(run["curve"]) < 4
    assert any(
        not math.isfinite(value)
        for value in (run["curve"][-1]["train_mse"], run["curve"][-1]["validation_mse"])
    )


def test_methods_without_training_beat_the_mean():
    problem, sets = made(n_train=100)
    for method in deconvolution.EXPERIMENT.untrained.values():
        run = method(problem, sets)
        assert run["parameters"] == 0
        assert run["test_mse"] < 0.8 * experiment.mean_signal(sets)


class Done:
    """A command line run in this process, as `command` runs it in another one."""

    def __init__(self, capsys, monkeypatch, words):
        monkeypatch.setattr(sys, "argv", ["deconvolution", *words.split()])
        try:
            self.code = experiment.main(deconvolution.parser(), deconvolution.EXPERIMENT)
        except SystemExit as end:
            self.code = end.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def run(capsys, monkeypatch):
    return partial(Done, capsys, monkeypatch)


SMALL = "--epochs 1 --train 16 --batch 8 --a 1 --methods lpgd,gauss_newton"


def test_results_are_written_after_each_run_and_not_repeated(run, tmp_path):
    file, other = tmp_path / "results.json", tmp_path / "other.json"
    first = run(f"{SMALL} --json {file}")
    assert first.code == 0, first.err
    results = json.loads(file.read_text())
    assert [(row["method"], row["seed"], row["a"], row["n_train"]) for row in results["runs"]] == [
        ("lpgd", 0, 1.0, 16),
        ("gauss_newton", 0, 1.0, 16),
    ]
    assert results["baseline_mse"] > results["runs"][1]["test_mse"] > 0
    assert results["settings"] == {"epochs": 1, "batch": 8}
    results["runs"][0]["test_mse"] = 0.1234  # to be seen again, if the run is not repeated
    file.write_text(json.dumps(results))
    picture = tmp_path / "picture.png"
    more = run(f"{SMALL} --seeds 2 --json {file} --plot {picture}")
    assert more.code == 0, more.err
    runs = json.loads(file.read_text())["runs"]
    assert [(row["method"], row["seed"]) for row in runs] == [
        ("lpgd", 0),
        ("gauss_newton", 0),
        ("lpgd", 1),
    ]
    assert runs[0]["test_mse"] == 0.1234
    assert picture.stat().st_size > 10_000
    assert list(tmp_path.glob("*.part")) == []
    shown = run(f"--from {file} {file} --json {other}")
    assert shown.out == more.out
    kept = json.loads(other.read_text())["runs"]  # six digits, and estimates of one seed
    assert [run.keys() for run in kept[:2]] == [run.keys() for run in runs[:2]]
    assert kept[2].keys() == runs[2].keys() - {"estimates"}
    for name in ("test_mse", "validation_mse", "baseline_mse"):
        assert [row[name] for row in kept] == pytest.approx([row[name] for row in runs], rel=1e-5)
    assert len(other.read_text()) < len(file.read_text())
    refused = run(f"{SMALL} --epochs 2 --json {file}")
    assert refused.code == 1
    assert "has runs of other settings" in refused.err


def test_a_run_that_diverged_is_null_in_standard_json_and_counted_in_the_table(run, tmp_path):
    curve = [{"epoch": 0, "train_mse": None, "validation_mse": 0.3}]
    lost = {"epoch": 1, "train_mse": math.nan, "validation_mse": 0.3}
    rows = [
        {"method": "lpgd", "seed": seed, "a": 1.0, "n_train": 16, "parameters": 7,
         "test_mse": error, "baseline_mse": 0.28, "diverged": seed == 1, "curve": [*curve, lost],
         "estimates": []}
        for seed, error in enumerate((0.1, 0.3, math.inf))
    ]  # fmt: skip
    file = tmp_path / "results.json"
    _experiment.write({"baseline_mse": 0.28, "settings": {}, "runs": rows}, file)
    assert "NaN" not in file.read_text()
    assert "Infinity" not in file.read_text()
    *_, line, last = run(f"--from {file}").out.splitlines()
    assert "0.2800" in last
    assert [word.strip() for word in line.split("|")[1:-1]] == [
        "lpgd", "3", "7", "1", "0.2000 ± 0.1414"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--methods lpgd_adam", "no method lpgd_adam; there are lpgd, lpgd_ma"),
        ("--train 20001", "invalid choice: 20001"),
        (f"--from {ROOT}/README.md", "Expecting value"),
        (f"--from {ROOT}/docs/results/regret.json", "has no baseline_mse, settings"),
        ("--batch 0", "must be 1 or more"),
        ("--json nowhere/rows.json", "there is no folder nowhere"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(options, message, run):
    done = run(options)
    assert done.code in (1, 2)
    assert message in done.err


def test_quick_prints_a_table_and_help_says_what_it_does(run):
    done = command("unrolled.deconvolution", *"--quick --epochs 1 --train 16".split())
    assert done.returncode == 0, done.stderr
    for method in ("lpgd_rma", "prox", "mean signal"):
        assert method in done.stdout
    text = " ".join(run("--help").out.split())
    assert "at most two minutes" in text
    assert text.count("(default: ") >= 7
    assert "None" not in text
