"""The benchmark runs, and its tables have rows: our layer alone, small sizes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import measure, report
from benchmarks.engines import AUTOMATIC, OURS
from benchmarks.families import FAMILIES
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
    assert np.isclose(report.means(found)[OURS][0], 1.0)


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
