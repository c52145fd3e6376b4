"""Products of patterns and linear maps against dense matrices; BLAS threads while solvers run."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from cvxlpgd.program import threads
from cvxlpgd.program.linear import Linear
from cvxlpgd.program.pattern import Pattern, product, products, transposed_product

MATRICES = {
    "identity": np.eye(4),
    "selection": np.eye(5)[[3, 0, 0]],
    "scaled, an empty row": np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [-1.5, 0.0, 0.0]]),
    "symmetrizing": np.array([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]),
    "a dense row among empty ones": np.vstack([np.arange(1.0, 9.0), np.zeros((7, 8))]),
    "dense": np.random.default_rng(0).standard_normal((6, 5)),
    "no rows": np.zeros((0, 3)),
    "no columns": np.zeros((3, 0)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_linear_maps(name: str) -> None:
    matrix = MATRICES[name]
    linear = Linear(sp.csr_array(matrix))
    vectors = np.random.default_rng(1).standard_normal((3, matrix.shape[1]))
    np.testing.assert_allclose(linear(vectors), vectors @ matrix.T, atol=1e-14)
    back = np.random.default_rng(2).standard_normal((3, matrix.shape[0]))
    np.testing.assert_allclose(linear.adjoint(back), back @ matrix, atol=1e-14)
    for i in range(3):
        assert np.array_equal(linear(vectors[i : i + 1])[0], linear(vectors)[i])
    found = linear(vectors)
    assert not np.shares_memory(found, vectors)
    assert found.flags.c_contiguous or not found.size


@pytest.mark.parametrize("stored", ["some", "all", "diagonal", "part of the diagonal", "none"])
@pytest.mark.parametrize("batch", [0, 1, 2, 5])
def test_products_of_patterns(batch: int, stored: str) -> None:
    random = np.random.default_rng(3)
    some, diagonal = random.random((4, 6)) < 0.5, np.eye(4, 6, dtype=bool)
    part = diagonal & (np.arange(6) != 1)
    everything, nothing = np.ones((4, 6), dtype=bool), np.zeros((4, 6), dtype=bool)
    where = {"some": some, "all": everything, "diagonal": diagonal, "part of the diagonal": part,
             "none": nothing}[stored]  # fmt: skip
    pattern = Pattern.of((4, 6), *np.nonzero(where))
    values = random.standard_normal((batch, pattern.size))
    dense = np.zeros((batch, 4, 6))
    dense[:, pattern.rows, pattern.cols] = values
    x, y = random.standard_normal((batch, 6)), random.standard_normal((batch, 4))
    for _ in range(2):
        np.testing.assert_allclose(product(pattern, values, x), np.einsum("bij,bj->bi", dense, x))
        found = transposed_product(pattern, values, y)
        np.testing.assert_allclose(found, np.einsum("bij,bi->bj", dense, y))
    shared = values[:1] if batch else random.standard_normal((1, pattern.size))
    whole = np.zeros((4, 6))
    whole[pattern.rows, pattern.cols] = shared[0]
    stack, back = random.standard_normal((batch, 3, 6)), random.standard_normal((batch, 3, 4))
    np.testing.assert_allclose(products(pattern, shared, stack), stack @ whole.T)
    np.testing.assert_allclose(products(pattern, shared, back, transposed=True), back @ whole)
    for i in range(batch):
        one = slice(i, i + 1)
        assert np.array_equal(
            products(pattern, values, stack)[i], products(pattern, values[one], stack[one])[0]
        )
        alone = product(pattern, values[one], x[one])
        assert np.array_equal(alone[0], product(pattern, values, x)[i])
    copy = pickle.loads(pickle.dumps(pattern))
    assert np.array_equal(product(copy, values, x), product(pattern, values, x))
    assert set(copy.__getstate__()) == {"shape", "rows", "cols"}


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threads._controller().info()
            if library["user_api"] == "blas"]  # fmt: skip


def test_blas_threads_are_limited_and_given_back() -> None:
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with threads.one_thread_each():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with threads.one_thread_each():
        thread.start()
        assert inside.wait(10)
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before  # of the first one in, whoever else is still inside
    leave.set()
    thread.join()
    assert blas_threads() == before
    with pytest.raises(ZeroDivisionError), threads.one_thread_each():
        _ = 1 / 0
    assert blas_threads() == before
    with threads.one_thread_each():
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before
