"""The recipe of docs/extending.md for a cone, followed to the letter in a copy of the library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers import recipes

ROOT = Path(__file__).parents[2]


def test_a_file_and_a_row_make_a_cone_part_of_the_library(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cvxlpgd", tmp_path / "cvxlpgd")
    shutil.copy(ROOT / "tests" / "cones" / "test_cones.py", tmp_path)
    cones = tmp_path / "cvxlpgd" / "cones"
    (cones / "rotated.py").write_text(recipes.rotated_file(), "utf-8")
    imports, row = recipes.block("from cvxlpgd.cones.rotated import").split("\n\n")
    registry = (cones / "registry.py").read_text("utf-8")
    registry = registry.replace("\nclass Kind", f"\n{imports}\n\n\nclass Kind")
    registry = registry.replace("\n    Kind(PSD", f"\n{row}    Kind(PSD")
    (cones / "registry.py").write_text(registry, "utf-8")
    words = "-vv -W error -p no:cacheprovider -k RotatedSOC test_cones.py -c".split()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words, os.devnull],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    for property_ in ("idempotent", "polar", "derivatives", "linearized", "reach", "interior"):
        assert property_ in run.stdout
