"""Impedance tomography: its disks, the Gauss-Newton images of them, and the experiment."""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skfem")

from examples.unrolled import (  # noqa: E402
    eit,
    eit_data,
    eit_sets,
    experiment,
    gauss_newton,
    methods,
    samples,
    training,
)
from examples.unrolled.mesh import areas, disk  # noqa: E402

FEW = {"train": 3, "validation": 2, "test": 3}


@cache
def few(inclusions: int = 2) -> samples.Sets:
    return eit_sets.sets(inclusions, FEW)


@pytest.mark.parametrize("count", [2, 4])
def test_inclusions_lie_apart_and_inside(count):
    kind = eit_data.KINDS[count]
    circles = eit_data.inclusions(kind, 60, (0, count))
    assert circles.shape == (60, count, 3)
    centres, radii = circles[..., :2], circles[..., 2]
    assert (np.linalg.norm(centres, axis=2) + radii).max() <= 1 - kind.margin
    assert kind.radii[0] <= radii.min() <= radii.max() <= kind.radii[1]
    for i in range(count):
        for j in range(i):
            gap = np.linalg.norm(centres[:, i] - centres[:, j], axis=1) - radii[:, i] - radii[:, j]
            assert gap.min() >= kind.margin
    assert np.array_equal(eit_data.inclusions(kind, 7, (0, count)), circles[:7])
    assert not np.array_equal(eit_data.inclusions(kind, 7, (1, count)), circles[:7])


@pytest.mark.parametrize("mesh", [eit_data.COARSE, eit_data.FINE])
def test_triangles_have_the_mean_conductivity(mesh):
    """Over the disk, ∫(σ - 1) = Σ (value - 1) π radius²; within a circle σ is its value."""
    kind, triangulation = eit_data.KINDS[4], disk(*mesh)
    circles = eit_data.inclusions(kind, 5, (3,))
    sigma = eit_data.conductivities(triangulation, kind, circles, cuts=8)
    contrasts = np.array(kind.conductivities) - 1
    expected = (contrasts * np.pi * circles[..., 2] ** 2).sum(axis=1)
    assert (sigma - 1) @ areas(triangulation) == pytest.approx(expected, abs=2e-3)
    for values, circle in zip(sigma, circles, strict=True):
        for value, (x, y, radius) in zip(kind.conductivities, circle, strict=True):
            corners = np.hypot(*(triangulation.p - [[x], [y]])[:, triangulation.t])
            assert values[(corners < radius).all(axis=0)] == pytest.approx(value)
            assert values[(corners < radius).all(axis=0)].size


def test_a_triangle_is_cut_into_equal_parts():
    middles = eit_data._middles(4)
    assert middles.shape == (16, 3)
    assert middles.sum(axis=1) == pytest.approx(1)
    assert middles.mean(axis=0) == pytest.approx(1 / 3)
    assert len(np.unique(middles.round(9), axis=0)) == 16


def test_fewer_samples_are_the_first_of_more_and_sets_are_disjoint():
    small, large = few(), eit_sets.sets(2, {"train": 5, "validation": 2, "test": 3})
    for name in ("truth", "data"):
        assert torch.equal(getattr(small.train, name), getattr(large.train, name)[:3])
        assert torch.equal(getattr(small.test, name), getattr(large.test, name))
    every = torch.cat([large.train.truth, large.validation.truth, large.test.truth])
    assert len(every.unique(dim=0)) == 10


def test_noise_is_as_large_as_said_and_the_models_differ_by_less():
    truth, data = eit_data.measured(12, 4, "validation")
    residual = data - eit_data.Forward(dtype=torch.float64)(truth)
    assert 0.01 < residual.square().mean().sqrt() < 0.015


def test_a_cache_is_read_and_not_computed_twice(tmp_path, monkeypatch):
    made = eit_sets.sets(2, FEW, tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    monkeypatch.setattr(eit_sets, "_computed", None)
    kept = eit_sets.sets(2, FEW, tmp_path / "new")
    for part in eit_data.SETS:
        for name in ("truth", "data", "start"):
            assert torch.equal(
                getattr(getattr(kept, part), name), getattr(getattr(made, part), name)
            )
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot be read .*delete it"):
        eit_sets.sets(2, FEW, tmp_path / "new")


def test_three_inclusions_are_refused():
    with pytest.raises(ValueError, match="with 2 and with 4 inclusions, not with 3"):
        eit_sets.sets(3, FEW)


def test_gauss_newton_steps_end_where_the_objective_is_stationary(monkeypatch):
    """The gradient of ½|F(x) - y|² + ½ alpha |z|² in z, by autograd, is 0 there."""
    monkeypatch.setattr(gauss_newton, "STEPS", 12)
    _, data = eit_data.measured(2, 2, "train")
    image = gauss_newton.GaussNewton(1e-2)(data)
    B = gauss_newton.smooth_modes()
    F = eit_data.Forward(dtype=torch.float64)
    z = torch.linalg.lstsq(B.expand(2, -1, -1), (image - 1)[..., None]).solution
    z = z[..., 0].requires_grad_()
    objective = (F(1 + z @ B.T) - data).square().sum() / 2 + 1e-2 * z.square().sum() / 2
    (gradient,) = torch.autograd.grad(objective, z)
    (at_zero,) = torch.autograd.grad((F(1 + (0 * z) @ B.T) - data).square().sum() / 2, z)
    assert at_zero.abs().max() == 0  # 0 z: no derivative, so that the next line is a comparison
    start = torch.zeros_like(z).requires_grad_()
    (first,) = torch.autograd.grad((F(1 + start @ B.T) - data).square().sum() / 2, start)
    assert gradient.norm() < 1e-6 * first.norm()


def test_gauss_newton_sees_the_inclusions_and_nothing_where_there_are_none():
    method = gauss_newton.GaussNewton(3e-3)
    nothing = torch.ones(1, 208, dtype=torch.float64)
    assert (method(nothing) - 1).abs().max() < 1e-12
    for sets in (few(2), few(4)):
        error = (sets.test.start - sets.test.truth).square().mean()
        assert error < 0.4 * (sets.test.truth - 1).square().mean()
        assert sets.test.start.min() >= eit_data.FLOOR


def test_smooth_images_have_the_covariance_that_was_said():
    B = gauss_newton.smooth_modes()
    mesh = disk(*eit_data.COARSE)
    centres = mesh.p[:, mesh.t].mean(axis=1)
    distances = np.linalg.norm(centres[:, :, None] - centres[:, None], axis=0)
    covariance = np.exp(-(distances**2) / (2 * gauss_newton.LENGTH**2))
    assert np.abs((B @ B.T).numpy() - covariance).max() < 0.02


def options(**changes):
    return argparse.Namespace(**{"inclusions": [2], "train": [2, 3], "data": None, **changes})


@pytest.fixture
def small(monkeypatch):
    """The experiment with a handful of disks."""
    monkeypatch.setattr(eit_sets, "COUNTS", FEW)
    monkeypatch.setattr(eit_sets, "CHOICE", 3)
    monkeypatch.setattr(eit, "EPOCH", 6)
    eit.samples.cache_clear()
    yield
    eit.samples.cache_clear()


def test_cases_share_the_step_and_repeat_their_own_disks(small):
    (problem, sets), (other, more) = (
        eit.made({"inclusions": 2, "n_train": n}, options()) for n in (2, 3)
    )
    assert (problem.step, problem.scale) == (other.step, other.scale)
    assert torch.equal(sets.train.truth[2:4], sets.train.truth[:2])
    assert len(sets.train.truth.unique(dim=0)) == 2
    assert len(more.train.truth.unique(dim=0)) == 3
    assert torch.equal(sets.test.data, more.test.data)


@pytest.mark.parametrize("method", ["lpgd_rma", "lpd_ma"])
def test_training_improves_on_gauss_newton_where_it_trains(small, method):
    problem, sets = eit.made({"inclusions": 2, "n_train": 2}, options())
    alone = samples.Sets(sets.train, sets.train[:2], sets.train[:2])
    start = eit.gauss_newton(problem, alone)
    run = training.train(method, problem, alone, seed=0, epochs=6, batch=2)
    assert run["curve"][0]["validation_mse"] == pytest.approx(start["validation_mse"], rel=1e-5)
    assert run["test_mse"] < 0.99 * start["test_mse"]
    assert not run["diverged"]


def test_every_parameter_of_every_method_is_trained(small):
    problem, sets = eit.made({"inclusions": 4, "n_train": 3}, options(inclusions=[4]))
    for method in ("lpgd", "lpgd_ma", "lpgd_rma", "lpd", "lpd_ma", "lpd_rma"):
        torch.manual_seed(0)
        scheme = methods.build(method, problem)
        with torch.no_grad():
            for parameter in scheme.parameters():  # the last layers begin at zero
                parameter += 0.01 * torch.randn_like(parameter)
        (scheme(sets.test.data, sets.test.start) - sets.test.truth).square().mean().backward()
        for name, parameter in scheme.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad.abs().max() > 0, (method, name)


def test_images_are_drawn_on_one_scale(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    test = few().test
    eit.draw(figure, {"truth": test.truth.numpy(), "gauss_newton": test.start.numpy()})
    figure.savefig(tmp_path / "picture.png")
    drawn = [axes for axes in figure.axes if axes.collections and axes.get_aspect() == 1]
    assert len(drawn) == 2 * training.SHOWN
    assert {axes.collections[0].norm for axes in drawn} == {drawn[0].collections[0].norm}


def command(monkeypatch, words: str) -> int:
    """What `python -m examples.unrolled.eit` does, in this process."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["eit", *words.split()])
    try:
        return experiment.main(eit.parser(), eit.EXPERIMENT)
    finally:
        torch.set_num_threads(threads)


def test_the_command_writes_rows_and_does_not_repeat_them(small, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "results.json"
    words = "--inclusions 2 --train 1 --methods gauss_newton,lpgd --epochs 0"
    words += f" --data {tmp_path} --json {file} --plot {tmp_path / 'picture.png'}"
    assert command(monkeypatch, words) == 0
    results = json.loads(file.read_text())
    untrained, network = results["runs"]
    assert [untrained["method"], network["method"]] == ["gauss_newton", "lpgd"]
    assert network["test_mse"] == pytest.approx(untrained["test_mse"], rel=1e-5)
    assert (network["n_train"], network["inclusions"], network["diverged"]) == (1, 2, False)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    network["test_mse"] = 123.0
    file.write_text(json.dumps(results))
    assert command(monkeypatch, words) == 0
    assert json.loads(file.read_text()) == results
    assert "123.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--inclusions 3", "invalid choice: 3"),
        ("--train 10001", "invalid choice: 10001"),
        ("--methods newton", "no method newton"),
        ("--methods prox", "no method prox"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(words, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
