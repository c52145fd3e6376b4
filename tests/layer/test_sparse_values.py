"""Sparse values of parameters: SciPy's, as the dense values' numbers and gradients have them."""

from __future__ import annotations

import tracemalloc

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from cvxlpgd.canonical import witness
from cvxlpgd.errors import FailedSampleWarning, InvalidInput
from cvxlpgd.numpy import CvxpyLayer

N = 4
ROWS, COLS = np.array([3, 1, 2, 0, 0]), np.array([3, 2, 0, 1, 3])  # in no order
S = cp.Parameter((N, N), sparsity=(ROWS, COLS), name="S")
D = cp.Parameter((N, N), diag=True, name="D")
F, c = cp.Parameter((N, N), name="F"), cp.Parameter(N, name="c")
x = cp.Variable(N)
PROBLEM = cp.Problem(
    cp.Minimize(cp.sum_squares(S @ x - c) + cp.sum_squares(F @ x) + cp.sum_squares(D @ x - 1)),
    [x >= -1, S @ x <= 3],
)
FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")


def draw(*axes):
    """Values of S, D, F and c; one entry of the pattern of S is 0 by chance."""
    rng = np.random.default_rng(0)
    of_S = np.zeros((*axes, N, N))
    of_S[..., ROWS, COLS] = rng.normal(size=(*axes, len(ROWS)))
    of_S[..., 0, 1] = 0.0
    of_F = np.eye(N) + np.triu(rng.normal(size=(N, N)), 2)
    return [of_S, np.diag(rng.normal(size=N)), of_F, rng.normal(size=N)]


@pytest.fixture(scope="module")
def layer():
    return CvxpyLayer(PROBLEM, [S, D, F, c], [x])


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix], ids=["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_are_the_dense_value(layer, form, kind):
    dense, bar = draw(), np.random.default_rng(1).normal(size=N)
    sparse = [*(kind(value).asformat(form) for value in dense[:3]), dense[3]]
    (expected,), pullback = layer.vjp(*dense)
    wanted = pullback(bar)
    (solution,), pullback = layer.vjp(*sparse)
    gradients = pullback(bar)
    assert np.array_equal(solution, expected)
    assert [type(g) for g in gradients[:2]] == [type(v) for v in sparse[:2]]  # of a pattern
    assert [type(g) for g in gradients[2:]] == [np.ndarray, np.ndarray]
    for gradient, value in zip(gradients, wanted, strict=True):
        whole = gradient.toarray() if sp.issparse(gradient) else gradient
        assert np.array_equal(whole, value)
    assert wanted[0][0, 1] != 0  # also where the value is 0, or not stored


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_tangents_may_be_sparse(layer, form):
    values, dots = draw(), draw()
    dots[0][0, 1] = 1.0
    (_,), (expected,) = layer.jvp(values, dots)
    sparse = [sp.coo_array(v).asformat(form) if v.ndim == 2 else v for v in values]
    directions = [sp.coo_array(v).asformat(form) if v.ndim == 2 else v for v in dots]
    for value, dot in ((sparse, directions), (sparse, dots), (values, directions)):
        assert np.array_equal(layer.jvp(value, dot)[1][0], expected)


def test_a_batch_of_coordinates(layer):
    dense, bar = draw(3), np.random.default_rng(1).normal(size=(3, N))
    (expected,), pullback = layer.vjp(*dense)
    wanted = pullback(bar)
    (solution,), pullback = layer.vjp(sp.coo_array(dense[0]), *dense[1:])
    gradients = pullback(bar)
    assert np.array_equal(solution, expected)
    assert np.array_equal(gradients[0].toarray(), wanted[0])
    assert all(np.array_equal(g, v) for g, v in zip(gradients[1:], wanted[1:], strict=True))
    (nothing,) = layer(sp.coo_array(dense[0][:0]), *dense[1:])
    assert nothing.shape == (0, N)


def test_duplicate_coordinates_are_added_and_the_dtype_is_kept(layer):
    value, bar = draw(), np.ones(N, dtype=np.float32)
    half = (value[0][ROWS, COLS] / 2).astype(np.float32)
    twice = sp.coo_array((np.tile(half, 2), (np.tile(ROWS, 2), np.tile(COLS, 2))), shape=(N, N))
    before = twice.data.copy(), [place.copy() for place in twice.coords]
    narrow = [v.astype(np.float32) for v in value]
    (expected,), (solution, pullback) = layer(*narrow), layer.vjp(twice, *narrow[1:])
    assert solution[0].dtype == pullback(bar)[0].dtype == np.float32
    np.testing.assert_allclose(solution[0], expected, rtol=1e-6)
    assert np.array_equal(twice.data, before[0])
    assert all(np.array_equal(*pair) for pair in zip(twice.coords, before[1], strict=True))


def test_optimal_values_take_them(layer):
    dense = draw()
    sparse = [sp.csr_array(dense[0]), *dense[1:]]
    value, pullback = layer.optimal_value_vjp(*dense)
    same, sparse_pullback = layer.optimal_value_vjp(*sparse)
    assert value == same
    assert np.array_equal(sparse_pullback(1.0)[0].toarray(), pullback(1.0)[0])


OUTSIDE = np.zeros((N, N))
OUTSIDE[1, 1] = 1.0
WRONG = {  # what is added to the value of S, and what the message has
    "outside": (OUTSIDE, "parameter S has entries outside of the pattern of sparsity="),
    "NaN outside": (OUTSIDE * np.nan, "parameter S has NaN"),
}


@pytest.mark.parametrize(("more", "text"), WRONG.values(), ids=WRONG.keys())
def test_entries_outside_of_the_pattern_are_an_error(layer, more, text):
    of_S, *rest = draw(2)
    of_S[1] += more
    for value in (of_S, sp.coo_array(of_S)):
        with pytest.raises(InvalidInput, match=f"1 of 2 samples.*sample 1: {text}"):
            layer(value, *rest)
    of_S = draw()[0]
    for value in (of_S + 4e-6 * OUTSIDE, sp.csr_array(of_S + 4e-6 * OUTSIDE)):
        layer(value, *rest)  # rounding
    lenient = CvxpyLayer(PROBLEM, [S, D, F, c], [x], on_failure="nan")
    batch = draw(2)[0]
    batch[1] += more
    with pytest.warns(FailedSampleWarning):
        (solution,) = lenient(sp.coo_array(batch), *rest)
    assert np.isnan(solution).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (sp.csr_array((N, N), dtype=complex), r"value 0 \(S\) has dtype complex128; real"),
        (sp.csr_array((3, N)), r"parameter 0 \(S\)\. Expected \(4, 4\).* got \(3, 4\)"),
    ],
    ids=["complex", "shape"],
)
def test_wrong_sparse_values(layer, value, text):
    with pytest.raises(InvalidInput, match=text):
        layer(value, *draw()[1:])


def test_a_large_sparse_value_is_never_dense():
    """Neither forward, nor backward, nor where the first solution is checked."""
    n = 3000
    rows = np.concatenate([np.arange(n), np.arange(n - 1)])
    cols = np.concatenate([np.arange(n), np.arange(1, n)])
    A, b, y = cp.Parameter((n, n), sparsity=(rows, cols)), cp.Parameter(n), cp.Variable(n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - b)), [A @ y <= 1])
    banded = CvxpyLayer(problem, [A, b], [y])
    stored = np.random.default_rng(0).uniform(0.4, 0.6, size=len(rows))
    value = sp.csr_array((stored, (rows, cols)), shape=(n, n))
    tracemalloc.start()
    try:
        _, pullback = banded.vjp(value, np.arange(n) % 7 / 3)
        gradient, _ = pullback(np.ones(n))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert gradient.nnz == len(rows)
    assert peak < n * n * 8 / 4


@pytest.mark.parametrize("large", [1, 10**6])
def test_the_first_solution_is_checked_with_sparse_values_too(monkeypatch, large):
    monkeypatch.setattr("cvxlpgd.layer.compiled.LARGE", large)
    seen = []

    def note(self, objective, tolerated):
        stated = self._objective.value
        seen.append([stated, objective, *(v.violation() for v in self._constraints)])

    monkeypatch.setattr(witness.Witness, "_check", note)
    CvxpyLayer(PROBLEM, [S, D, F, c], [x])(sp.csr_array(draw()[0]), *draw()[1:])
    (stated, objective, *violations) = seen[0]
    assert stated == pytest.approx(objective, rel=1e-7)
    assert max(np.max(v) for v in violations) < 1e-7


def test_a_pattern_may_be_empty():
    """S is 0 whatever: the target is the solution."""
    empty, target = cp.Parameter((N, N), sparsity=([], [])), cp.Parameter(N)
    cost = cp.sum_squares(x - target) + cp.sum(empty @ x)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cost)), [empty, target], [x])
    for value in (np.zeros((N, N)), sp.csr_array((N, N))):
        np.testing.assert_allclose(layer(value, np.arange(4.0))[0], np.arange(4.0), atol=1e-9)
    with pytest.raises(InvalidInput, match="outside of the pattern"):
        layer(sp.eye_array(N, format="csr"), np.zeros(N))
