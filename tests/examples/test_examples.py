"""Every file in examples/ runs as a script and says what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ELSEWHERE = {"distributed.py"}  # torchrun runs it, in test_distributed.py
EXAMPLES = [
    path for path in sorted((ROOT / "examples").glob("[!_]*.py")) if path.name not in ELSEWHERE
]

# file -> (optional libraries it needs, what it prints)
EXPECTED = {
    "first_layer_numpy.py": ((), ["solutions (6, 4)", "<x_bar, J p_dot>"]),
    "first_layer_torch.py": (("torch",), ["step 300", "statuses: {'solved'}"]),
    "migrate_from_cvxpylayers.py": (
        ("torch", "diffcp"),
        ["exact derivative:  target not reached in 50 steps", "LPGD, tau chosen:"],
    ),
    "path_picture.py": (("matplotlib",), ["limit      [ 1.  -0.3 -0.7]", "tau = 0.7"]),
    "portfolio.py": (("torch", "skfolio"), ["2022-11-30", "solved 8 of 8"]),
    "write_a_solver.py": ((), ["step 0: 3 of 3 jobs", "0 of 3 jobs"]),
}


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES} == EXPECTED.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_explained(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) < 80


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, tmp_path):
    libraries, expected = EXPECTED[path.name]
    for library in libraries:
        if find_spec(library) is None:
            pytest.skip(f"{path.name} needs {library}, which is not installed")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout, done.stdout
