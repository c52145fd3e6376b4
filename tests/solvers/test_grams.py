"""A'MA of runs of cones: dense products, pairs of entries, and both together."""

import numpy as np
import pytest

from cvxlpgd.program import Pattern
from cvxlpgd.solvers.refine.grams import Full, Pairs, grams_of

WIDE, COUNT, R, BATCH = 20, 30, 3, 4


def columns(kind: str) -> np.ndarray:
    """Where A (90, n) is filled: in all rows of some columns, in one row of others, or both."""
    full, single = np.ones((COUNT * R, WIDE), dtype=bool), np.eye(COUNT * R, dtype=bool)
    first = np.arange(COUNT * R)[:, None] % R == 0
    return {
        "full": full,
        "single": single,
        "both": np.concatenate([single[:, :40], full & first, single[:, 40:]], axis=1),
        "both, apart": np.concatenate([full & first, single, full & first], axis=1),
        "twice": single | np.roll(single, 1, axis=0),
        "nothing": single[:, :0],
    }[kind]


@pytest.mark.parametrize("kind", ["full", "single", "twice", "both", "both, apart", "nothing"])
@pytest.mark.parametrize("shared", [True, False])
def test_they_add_up_to_the_product(kind: str, shared: bool) -> None:
    rng, filled = np.random.default_rng(0), columns(kind)
    n = filled.shape[1]
    above = np.concatenate([np.zeros((2, n), dtype=bool), filled])  # other rows
    pattern = Pattern.of(above.shape, *np.nonzero(above))
    values = rng.normal(size=(1 if shared else BATCH, pattern.size))
    A = np.zeros((len(values), *above.shape))
    A[:, pattern.rows, pattern.cols] = values
    M = rng.normal(size=(BATCH, COUNT, R, R))
    M, squares = M + M.swapaxes(2, 3), rng.uniform(size=(BATCH, COUNT))
    order = rng.permutation(n)
    H = np.ones((BATCH, n, n))
    grams = grams_of(pattern, order, n, slice(2, 2 + COUNT * R), R)
    for gram in grams:
        gram.add(values, M, squares, H)
    parts = A[:, 2:].reshape(len(A), COUNT, R, n)
    parts = np.broadcast_to(parts, (BATCH, *parts.shape[1:]))
    wanted = np.einsum("kcia,kc,kcij,kcjb->kab", parts, squares, M, parts)
    back = np.argsort(order)
    np.testing.assert_allclose(H, 1 + wanted[:, back][:, :, back], atol=1e-9)
    kinds = {"full": [Full], "single": [Pairs], "twice": [Pairs], "nothing": []}.get(
        kind, [Full, Pairs]
    )
    assert [type(gram) for gram in grams] == kinds
