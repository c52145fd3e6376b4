"""The recipes of docs/extending.md, each followed to the letter in a copy of the project."""

from __future__ import annotations

import pytest

from tests.helpers.recipes import Copy


@pytest.fixture
def copy(tmp_path):
    return Copy.of(tmp_path)


def test_a_solver(copy):
    copy.write('"""KKT:')
    copy.apply("from cvxlpgd.solvers.kkt")
    files = [f"tests/solvers/test_{name}.py" for name in ("solvers", "registry", "reuse")]
    assert copy.test("KKT", *files) >= 8
    assert "KKT" in copy.run("cvxlpgd", "solvers")


def test_a_derivative(copy):
    copy.write('"""The straight')
    copy.apply("from cvxlpgd.derivatives.identity")
    assert copy.test("Identity", "tests/derivatives/test_every.py") >= 8


def test_a_framework(copy):
    copy.write('"""Layers for nested')
    copy.apply("import cvxlpgd.lists")
    assert copy.test("lists", "tests/test_frameworks.py") > 6


def test_a_cone(copy):
    copy.write('"""The rotated')
    copy.apply("from cvxlpgd.cones.rotated")
    assert copy.test("RotatedSOC", "tests/cones/test_cones.py") > 10
