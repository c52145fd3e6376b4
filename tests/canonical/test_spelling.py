"""Expressions in messages: as their author wrote them, short, in one line."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd.canonical._spelling import LENGTH, spell

x, X, y = cp.Variable(3, name="x"), cp.Variable((3, 3), name="X"), cp.Variable(name="y")
a, b, p = cp.Parameter(name="a"), cp.Parameter(3, name="b"), cp.Parameter(pos=True, name="p")
A = np.ones((40, 3))

SPELLED = [
    (x[0] * x[1], "x[0] * x[1]"),
    (x - b, "x - b"),
    (a - (x - b), "a - (x - b)"),
    (-(x - b), "-(x - b)"),
    ((x - b) / (2 * y), "(x - b) / (2 * y)"),
    (2 * x + 1 - a * x, "2 * x + 1 - a * x"),
    (x - 1e-3 * b, "x - 0.001 * b"),
    (X.T @ x, "X.T @ x"),
    (X[0, 1:], "X[0, 1:3]"),
    (-(y**3), "-y**3"),
    ((2 * y) ** 2, "(2 * y)**2"),
    (cp.sqrt(y), "sqrt(y)"),
    (cp.norm(x - b), "norm(x - b)"),
    (cp.norm(x, 3), "norm(x, 3)"),
    (cp.sum(X, axis=0), "sum(X, 0)"),
    (cp.sum_largest(x, 2), "sum_largest(x, 2)"),
    (cp.sum_squares(A @ x - 1), "sum_squares([40 x 3 array] @ x - 1)"),
    (cp.quad_over_lin(x, y), "quad_over_lin(x, y)"),
    (cp.quad_form(x, np.eye(3)), "quad_form(x, [3 x 3 array])"),
    (cp.power(cp.Variable(pos=True, name="t"), p), "t**p"),
    (cp.sqrt(y) <= 1, "sqrt(y) <= 1"),
    (cp.norm(x) >= 1, "1 <= norm(x)"),
    (x == b, "x == b"),
    (X >> 0, "X >> 0"),
    (cp.ExpCone(y, y, a), "ExpCone(y, y, a)"),
]


@pytest.mark.parametrize(("part", "text"), SPELLED, ids=[text for _, text in SPELLED])
def test_parts_are_spelled_as_their_author_writes_them(part, text):
    assert spell(part) == text


def test_long_parts_lose_their_middle():
    text = spell(cp.sum([x[0] * y + k for k in range(1, 99)]) <= 7)
    assert len(text) <= LENGTH
    assert text.startswith("x[0] * y + 1 + x[0] * y + 2")
    assert text.endswith("+ 98 <= 7")
