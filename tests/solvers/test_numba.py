"""Compiled kernels: NumPy's results to rounding, each sample for itself, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvxlpgd.cones import Exp
from cvxlpgd.cones.refining import nearest_pair
from cvxlpgd.program import ConeProgram, Point
from cvxlpgd.program.pairs import is_diagonal
from cvxlpgd.solvers import SCS
from cvxlpgd.solvers.refine.conditions import Conditions
from cvxlpgd.solvers.refine.matrices import DenseFactors
from cvxlpgd.solvers.refine.newton import is_refinable, refine
from cvxlpgd.solvers.refine.steps import nearest_pairs
from cvxlpgd.solvers.run.solve import solve
from tests.zoo import ROWS, Row, program

SWITCH = "CVXLPGD_NUMBA"
BATCH = 4
SCALES = (1e-4, 1.0, 1e5)

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


def curved(row: Row) -> bool:
    structure = program(row, row.inputs(1)).structure
    return is_refinable(structure) and not all(is_diagonal(cone) for cone in structure.cones)


every_curved_row = pytest.mark.parametrize(
    "row", [row for row in ROWS if curved(row)], ids=lambda row: row.name
)
every_scale = pytest.mark.parametrize("scale", SCALES)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """What a function returns without kernels, and with them."""

    def run(function: Callable[[], Any]) -> tuple[Any, Any]:
        monkeypatch.setenv(SWITCH, "0")
        numpy = function()
        monkeypatch.setenv(SWITCH, "1")
        compiled = function()
        assert {"cvxlpgd.solvers.refine._numba", "cvxlpgd.cones._numba"} & sys.modules.keys()
        return numpy, compiled

    return run


def programs_of(row: Row) -> ConeProgram:
    return program(row, row.inputs(BATCH))


def random_pairs(programs: ConeProgram, scale: float) -> tuple[Point, np.ndarray]:
    """Points whose pairs are complementary, in weighted units, and weights."""
    structure, rng = programs.structure, np.random.default_rng(5)
    x = scale * rng.normal(size=(programs.batch, structure.n))
    y, s = scale * rng.normal(size=(2, programs.batch, structure.m))
    y, s = nearest_pairs(structure, y, s)
    return Point(x, y, s), np.exp(rng.normal(size=s.shape))


def assert_equal(one: np.ndarray, other: np.ndarray, sizes: np.ndarray | float = 0.0) -> None:
    """To 1e-12 of the sizes, which are at least those of each sample's largest entry."""
    largest = np.abs(one).max(axis=-1, keepdims=True, initial=0.0)
    assert (np.abs(one - other) <= 1e-12 * np.maximum(largest, sizes)).all()


@needs_numba
@every_curved_row
@every_scale
def test_conditions_are_the_same(row: Row, scale: float, both: Any) -> None:
    programs = programs_of(row)
    z, t = random_pairs(programs, scale)
    numpy, compiled = both(lambda: Conditions.of(programs, t).at(z.x, z.y, z.s))
    for one, other in zip(numpy, compiled, strict=True):
        assert_equal(one, other)
    broken = z.s.copy()
    broken[1, -1] = np.nan
    for _, g, error in both(lambda: Conditions.of(programs, t).at(z.x, z.y, broken)):
        assert np.isnan(error[1])
        assert np.isnan(g[1, -1])
        assert np.isfinite(np.delete(error, 1)).all()


@needs_numba
@every_curved_row
@every_scale
def test_steps_are_the_same(row: Row, scale: float, both: Any) -> None:
    """With an e that is so large that no digits are lost in the matrices."""
    programs = programs_of(row)
    z, t = random_pairs(programs, scale)
    factors = DenseFactors.of(programs, z, t, np.ones(programs.batch))
    rng, places = np.random.default_rng(6), np.array([2, 0, 3, 1, 2])
    f, g = (scale * rng.normal(size=(5, size)) for size in (z.x.shape[1], z.y.shape[1]))
    numpy, compiled = both(lambda: factors.steps(places)(f, g))
    for one, other in zip(numpy, compiled, strict=True):
        assert_equal(one, other, scale)


@needs_numba
@every_scale
def test_exponential_cones_are_the_same(scale: float, both: Any) -> None:
    """At any pairs, pairs near to complementary ones, and at the boundaries themselves."""
    cone, rng = Exp(), np.random.default_rng(7)
    y, s = scale * rng.normal(size=(2, 60, 5, cone.rows))
    y[20:40], s[20:40] = nearest_pair(cone, y[20:40], s[20:40])
    near_y, near_s = nearest_pair(cone, y[40:], s[40:])
    y[40:], s[40:] = near_y * (1 + 1e-3 * y[40:] / scale), near_s * (1 - 1e-3 * s[40:] / scale)
    y[0], s[:2] = 0.0, 0.0
    for one, other in zip(*both(lambda: nearest_pair(cone, y, s)), strict=True):
        assert_equal(one, other, scale)


@needs_numba
@every_curved_row
def test_whole_solves_are_the_same_and_each_sample_alone(row: Row, both: Any) -> None:
    programs = programs_of(row)
    start = solve(SCS(eps=1e-4), programs).point
    start = Point(*(np.asfortranarray(v) for _, v in start.items()))
    numpy, compiled = both(lambda: refine(programs, start))
    assert (numpy.ok == compiled.ok).all()
    for name, v in compiled.point.items():
        wanted = getattr(numpy.point, name)
        difference = np.abs(v - wanted)[numpy.ok]
        assert (difference <= 1e-8 * (1 + np.abs(wanted[numpy.ok]).max(initial=0.0))).all(), name
    parts = [np.array(several) for several in ([0], [3], [2, 1], [1])]
    with ThreadPoolExecutor(3) as pool:
        refined = pool.map(lambda part: refine(programs.take(part), start.pick(part)), parts)
        for part, refinement in zip(parts, refined, strict=True):
            for name, v in refinement.point.items():
                np.testing.assert_array_equal(v, getattr(compiled.point, name)[part])


SOLVE = """
import warnings
import numpy as np
from cvxlpgd.cones import Exp
from cvxlpgd.cones.refining import nearest_pair
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        y, s = nearest_pair(Exp(), np.array([[-1.0, -1.0, 1.0]]), np.array([[0.0, 1.0, 1.0]]))
np.testing.assert_allclose(s, [[0.0, 1.0, 1.0]])
import sys
print(len(caught), "numba" in sys.modules, *(str(warning.message) for warning in caught))
"""


def run(folder: Path, **variables: str) -> str:
    """What the lines above print, with a folder in front of all installed packages."""
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    command = [sys.executable, "-c", SOLVE]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return ended.stdout


CANNOT_COMPILE = """
from unittest.mock import MagicMock
types = MagicMock()
def njit(*args, **options):
    raise TypeError("of what is not to be compiled")
"""


@pytest.mark.parametrize("source", ["raise ImportError('of another NumPy')", CANNOT_COMPILE])
def test_a_numba_that_does_not_work_is_named_once_and_not_used(source: str, tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text(source + "\n")
    printed = run(tmp_path, **{SWITCH: "1"})
    assert printed.startswith("1 ")
    assert "NumPy is used" in printed
    assert "Error: of " in printed


def test_the_switch_turns_kernels_off(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError\n")
    assert run(tmp_path, **{SWITCH: "0"}).strip() == "0 False"
