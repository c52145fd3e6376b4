"""The benchmark runs, and its tables have rows: our layer alone, small sizes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import __main__ as command
from benchmarks import measure, parts, report
from benchmarks.advice import ADVICE
from benchmarks.engines import AUTOMATIC, OURS
from benchmarks.families import FAMILIES
from benchmarks.figures import means
from benchmarks.profile import PARTS, profile
from campaigns.mutants import annotated


def test_ours_is_measured_and_right() -> None:
    names = ["projection QP", "assignment", "SOC", "entropy"]
    rows, floors = measure.families(names, [OURS, AUTOMATIC], rounds=1, scale=0.15, batch=3)
    assert [row.note for row in rows] == [""] * 8
    assert all(row.total > 0 and row.solution_error <= 1e-6 for row in rows)
    assert all(row.gradient_error <= 1e-3 for row in rows if row.engine == OURS)
    assert {floor.family for floor in floors} == set(names)
    found = {"rows": [asdict(r) for r in rows], "floors": [asdict(f) for f in floors]}
    text = report.tables(found)
    assert all(f"| {name} " in text for name in names)
    assert np.isclose(means(found)[OURS][0], 1.0)


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
    found = {"rows": scaled, "scaled": scaled}
    assert means(found)["cvxpylayers"] == (pytest.approx(4.0), 3)
    assert means(found, AUTOMATIC)["cvxpylayers"] == (pytest.approx(2.0), 3)
    assert means(found, AUTOMATIC)[AUTOMATIC] == (pytest.approx(1.0), 3)


def test_the_command_measures_sizes_a_call_and_advice_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "CALLS", 10)
    file = tmp_path / "found.json"
    words = ["--quick", "--newest", "--scales", "0.5,1", "--json", str(file)]
    words += ["--families", "projection QP,SOC", "--engines", f"{OURS},{AUTOMATIC}"]
    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    assert command.main() == 0
    found = json.loads(file.read_text())
    assert {(r["family"], r["scale"]) for r in found["scaled"]} == {
        (family, scale) for family in ("projection QP", "SOC") for scale in (0.5, 1.0)
    }
    assert means(found)[AUTOMATIC][1] == 4
    assert [row["layer"] for row in found["call"]] == [AUTOMATIC, OURS]
    assert {row["advice"] for row in found["advice"]} == {row.name for row in ADVICE}
    assert all(row[f"{k} (ms)"] > 0 for row in found["advice"] for k in ("without", "followed"))
    shown = capsys.readouterr().out
    assert "## Geometric means" in shown
    assert "## What each advice is worth" in shown
    report.write(found, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "$" not in page
    assert shown.strip() in page
    assert (tmp_path / "performance.png").stat().st_size


@pytest.mark.parametrize("kind", parts.CONSTRUCTED)
def test_construction_is_measured(kind: str) -> None:
    assert parts.construction_of(kind, "5")["seconds"] > 0


def test_the_page_has_the_text_of_its_template() -> None:
    """docs/performance.md is written by the command, and not by hand."""
    parts_of_text = re.split(r"\$\w+", report.INTRO.read_text())
    page = Path(report.INTRO.parents[1], "docs", "performance.md").read_text()
    assert re.match(".*?".join(map(re.escape, parts_of_text)), page, re.DOTALL)


@pytest.mark.parametrize("name", [f for f in FAMILIES if not f.startswith("large")])
def test_families_scale(name: str) -> None:
    small, large = (FAMILIES[name].instance(2, scale) for scale in (0.1, 0.2))
    assert small.cotangent.shape[0] == large.cotangent.shape[0] == 2
    assert small.variables[0].size <= large.variables[0].size
    again = FAMILIES[name].instance(2, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(small.values, again.values, strict=True))


def test_a_profile_adds_up() -> None:
    found = profile("SOC", batch=3, scale=0.1)
    assert all(found[part] > 0 for part in PARTS)
    assert found["ms"] > sum(found[part] for part in PARTS) - 1e-6


def test_annotations_are_not_mutated(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(
        "def f(x: int | None) -> str | None:\n    y: int | None = x\n    return y | 1\n"
    )
    assert sorted(annotated(file)) == [(1, 9, 1, 19), (1, 24, 1, 34), (2, 7, 2, 17)]
