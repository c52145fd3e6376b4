"""The benchmark runs, and its tables have rows: our layer alone, small sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import __main__ as command
from benchmarks import measure, parts, report
from benchmarks.advice import ADVICE
from benchmarks.engines import AUTOMATIC, ENGINES, OURS, Engine
from benchmarks.families import FAMILIES, Instance
from benchmarks.figures import means
from benchmarks.profile import PARTS, profile
from campaigns.mutants import annotated


def test_ours_is_measured_and_right() -> None:
    names = ["projection QP", "portfolio", "assignment", "SOC", "entropy"]
    rows, floors = measure.families(names, [OURS, AUTOMATIC], rounds=1, scale=0.15, batch=3)
    assert [row.note for row in rows] == [""] * 10
    assert all(row.total > 0 and row.solution_error <= 1e-6 for row in rows)
    assert all(row.gradient_error <= 1e-3 for row in rows if row.engine == OURS)
    assert {floor.family for floor in floors} == set(names)
    results = {"rows": [asdict(r) for r in rows], "floors": [asdict(f) for f in floors]}
    text = report.tables(results)
    assert all(f"| {name} " in text for name in names)
    assert np.isclose(means(results)[OURS][0], 1.0)


def test_means_are_over_families_and_sizes_and_beside_both_layers() -> None:
    def row(family: str, scale: float, engine: str, seconds: float) -> dict[str, object]:
        return {"family": family, "scale": scale, "engine": engine,
                "forward": seconds / 4, "backward": 3 * seconds / 4}  # fmt: skip

    scaled = [
        row(family, scale, engine, seconds)
        for family, scale, factor in (("SOC", 1.0, 2.0), ("SOC", 1.5, 8.0), ("entropy", 1.0, 4.0))
        for engine, seconds in ((OURS, 1.0), (AUTOMATIC, 2.0), ("cvxpylayers", factor))
    ]
    scaled += [row("SDP", 1.0, OURS, 1.0), row("SDP", 1.0, "cvxpylayers", float("nan"))]
    scaled += [row("knapsack", 1.0, OURS, 1.0), row("knapsack", 1.0, "cvxpylayers", 100.0)]
    results = {"rows": scaled, "scaled": scaled}
    assert means(results)["cvxpylayers"] == (pytest.approx(4.0), 3)
    assert means(results, AUTOMATIC)["cvxpylayers"] == (pytest.approx(2.0), 3)
    assert means(results, AUTOMATIC)[AUTOMATIC] == (pytest.approx(1.0), 3)


def test_the_command_measures_sizes_a_call_and_advice_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "CALLS", 10)
    file = tmp_path / "results.json"
    words = ["--quick", "--newest", "--scales", "0.5,1", "--json", str(file)]
    words += ["--families", "projection QP,SOC", "--engines", f"{OURS},{AUTOMATIC}"]
    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    assert command.main() == 0
    results = json.loads(file.read_text())
    assert {(r["family"], r["scale"]) for r in results["scaled"]} == {
        (family, scale) for family in ("projection QP", "SOC") for scale in (0.5, 1.0)
    }
    assert means(results)[AUTOMATIC][1] == 4
    assert [row["layer"] for row in results["call"]] == [AUTOMATIC, OURS]
    assert {row["advice"] for row in results["advice"]} == {row.name for row in ADVICE}
    assert all(row[f"{k} (ms)"] > 0 for row in results["advice"] for k in ("without", "followed"))
    report.write(results, tmp_path)
    users, contributors = (
        (tmp_path / name).read_text() for name in ("performance.md", "performance-notes.md")
    )
    assert "$" not in users + contributors
    tables = dict(
        re.findall(r"^## (.*)\n\n((?s:.*?))(?=\n\n## |\Z)", capsys.readouterr().out, re.M)
    )
    for title in ("Times and errors", "At other sizes"):
        assert tables[title].strip() in users
    assert tables["Against the bare loop"].strip() in contributors
    assert tables["Geometric means"].strip() in users
    assert {"What each advice is worth", "A call with next to nothing to solve"} <= tables.keys()
    assert (tmp_path / "performance.png").stat().st_size


def _counting(counts: dict[str, int], name: str) -> Engine:
    """An engine that counts its steps, and returns zeros."""

    def made(instance: Instance) -> Callable[..., Any]:
        def layer(*tensors: Any) -> tuple[Any]:
            counts[name] = counts.get(name, 0) + 1
            return (tensors[0] * 0.0,)

        return layer

    return Engine(name, (), made)


@pytest.mark.parametrize(("enough", "steps"), [(1e9, 4), (0.0, 1)])
def test_slow_engines_have_fewer_rounds(
    enough: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[str, int] = {}
    for name in ("one", "other"):
        monkeypatch.setitem(ENGINES, name, _counting(counts, name))
    instance = FAMILIES["projection QP"].instance(2, 0.1)
    rows, _ = measure.side_by_side(
        instance, ["one", "other"], rounds=3, judged=False, enough=enough
    )
    assert counts == {"one": steps, "other": steps}
    assert all(np.isfinite(row.total) for row in rows)


def test_a_sweep_of_another_layer_ends_before_steps_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def side_by_side(instance: Instance, engines: list[str], **_: Any) -> tuple[Any, None]:
        batch, n = instance.cotangent.shape  # 8 samples of 64 variables take 1 second
        row = measure.Row(instance.family.name, engines[0], batch, n, batch * n / 512, 0.0, 0, 0)
        return [row], None

    monkeypatch.setattr(parts, "side_by_side", side_by_side)
    points = parts.sweeps(["projection QP"], [OURS, "cvxpylayers"], budget=7.0)
    values = {
        (engine, sweep): [
            p["value"] for p in points if (p["engine"], p["sweep"]) == (engine, sweep)
        ]
        for engine in (OURS, "cvxpylayers")
        for sweep in ("batch", "scale")
    }
    assert values[OURS, "batch"] == list(parts.BATCHES)
    assert values["cvxpylayers", "batch"] == [1, 8]  # 64 samples would take 8 seconds
    assert values[OURS, "scale"] == values["cvxpylayers", "scale"] == list(parts.SCALES)


def test_memory_grows_along_a_sweep() -> None:
    small, large = parts.peaks_of("projection QP", OURS, "batch", "1", "64")
    assert 0 < small <= large


@pytest.mark.parametrize("kind", parts.CONSTRUCTED)
def test_construction_is_measured(kind: str) -> None:
    assert parts.construction_of(kind, "5")["seconds"] > 0


@pytest.mark.parametrize(
    ("template", "name"),
    [(report.INTRO, "performance.md"), (report.NOTES, "performance-notes.md")],
    ids=["users", "contributors"],
)
def test_pages_have_the_text_of_their_templates(template: Path, name: str) -> None:
    """They are written by the command, and not by hand."""
    parts_of_text = re.split(r"\$\w+", template.read_text().rstrip())
    page = Path(template.parents[1], "docs", name).read_text()
    assert re.match(".*?".join(map(re.escape, parts_of_text)), page, re.DOTALL)


@pytest.mark.parametrize("name", [f for f in FAMILIES if not f.startswith("large")])
def test_families_scale(name: str) -> None:
    small, large = (FAMILIES[name].instance(2, scale) for scale in (0.1, 0.2))
    assert small.cotangent.shape[0] == large.cotangent.shape[0] == 2
    assert small.variables[0].size <= large.variables[0].size
    again = FAMILIES[name].instance(2, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(small.values, again.values, strict=True))


def test_a_profile_adds_up() -> None:
    results = profile("SOC", batch=3, scale=0.1)
    assert all(results[part] > 0 for part in PARTS)
    assert results["ms"] > sum(results[part] for part in PARTS) - 1e-6


def test_annotations_are_not_mutated(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(
        "def f(x: int | None) -> str | None:\n    y: int | None = x\n    return y | 1\n"
    )
    assert sorted(annotated(file)) == [(1, 9, 1, 19), (1, 24, 1, 34), (2, 7, 2, 17)]
