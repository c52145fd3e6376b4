"""Layers of cone programs: values, batches, derivatives, options."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

from cvxlpgd import LPGD, Exact, FiniteDifference, Implicit
from cvxlpgd.cone_programs import from_clarabel, from_diffcp, from_qp
from cvxlpgd.errors import FailedSampleWarning, InvalidInput, InvalidOption, SolveFailed
from cvxlpgd.numpy import ConeLayer
from tests.cone_programs.programs import case

ONE = case("z l q", True, n=8)
NAMES = ("P", "A", "b", "c")


def box(**options):
    """min ½|x - p|² over 0 <= x <= 1, with q = -p."""
    structure = from_qp(sp.eye_array(3), None, lb=np.zeros(3), ub=np.ones(3))
    return ConeLayer(structure, ["q"], ["x"], single=True, **options)


DERIVATIVES = [
    LPGD(), LPGD(tau=1e-5), LPGD(tau=1e-5, side="lower"), Exact(), FiniteDifference(),
    Implicit("dense"),
]  # fmt: skip


@pytest.mark.parametrize("derivative", DERIVATIVES, ids=str)
def test_every_derivative_sees_x_y_and_s(derivative):
    layer = ConeLayer(ONE.structure(), derivative=derivative)
    rng, values = np.random.default_rng(0), ONE.values
    outputs, pull_back = layer.vjp(*values)
    bars = [rng.normal(size=v.shape) for v in outputs]
    gradients = pull_back(*bars)
    _, pull_exactly = ConeLayer(ONE.structure(), derivative=Exact()).vjp(*values)
    for own, wanted in zip(gradients, pull_exactly(*bars), strict=True):
        assert np.abs(own - wanted).max() <= 2e-4 * np.abs(wanted).max()
    dots = [rng.normal(size=v.shape) for v in values]
    _, moved = layer.jvp(values, dots)
    along = sum(np.sum(bar * dot) for bar, dot in zip(bars, moved, strict=True))
    assert np.isclose(along, sum(np.sum(g * d) for g, d in zip(gradients, dots, strict=True)),
                      rtol=2e-4, atol=2e-4)  # fmt: skip


def test_sparse_values_are_matrices_lists_of_them_or_their_entries():
    A, b, c = (ONE.data[name] for name in ("A", "b", "c"))
    P = ONE.data["P"]
    layer = ConeLayer(ONE.structure())
    others = [A.copy(), A.copy()]
    others[1].data = 1.1 * A.data
    outputs, pull_back = layer.vjp(P, others, b, c)
    P_bar, A_bars, b_bar, c_bar = pull_back(*(np.ones_like(v) for v in outputs))
    assert [type(v) for v in (P_bar, A_bars)] == [sp.csc_matrix, list]
    entries = np.stack([A.data, 1.1 * A.data])
    same, pull_entries = layer.vjp(P.data, entries, b, c)
    assert all(np.array_equal(v, w) for v, w in zip(outputs, same, strict=True))
    P_own, A_own, _, _ = pull_entries(*(np.ones_like(v) for v in outputs))
    assert np.array_equal(np.stack([v.data for v in A_bars]), A_own)
    assert np.array_equal(P_bar.data, P_own)
    assert b_bar.shape == b.shape
    assert c_bar.shape == c.shape
    by_row = layer(P.tocsr(), [v.tocoo() for v in others], b, c)  # another order of entries
    assert all(np.array_equal(v, w) for v, w in zip(outputs, by_row, strict=True))


def test_an_entry_that_is_0_now_may_change_later():
    A = sp.csc_matrix(np.array([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    A.data[1] = 0.0  # x_1 >= 0 is not there yet
    structure = from_diffcp(A, np.array([1.0, 0.0, 0.0]), np.array([1.0, 2.0]), {"z": 1, "l": 2})
    layer = ConeLayer(structure, ["A"], ["x"], single=True, solver="CLARABEL")
    bounded = A.copy()
    bounded.data[1] = -1.0
    assert np.allclose(layer(bounded), [1.0, 0.0], atol=1e-6)
    fewer = bounded.copy()
    fewer.eliminate_zeros()
    assert np.array_equal(layer(fewer), layer(bounded))


def test_batches_broadcast_and_what_they_share_is_summed_over():
    rng, (P, A, b, c) = np.random.default_rng(0), ONE.values
    layer = ConeLayer(ONE.structure())
    costs, sides = c + 0.1 * rng.normal(size=(3, 1, len(c))), b + 0.01 * rng.random((2, len(b)))
    (x, y, s), pull_back = layer.vjp(P, A, sides, costs)
    assert x.shape == (3, 2, 8)
    assert y.shape == s.shape == (3, 2, len(b))
    P_bar, A_bar, b_bar, c_bar = pull_back(np.ones_like(x), None, None)
    assert [v.shape for v in (P_bar, A_bar, b_bar, c_bar)] == [
        P.shape, A.shape, sides.shape, costs.shape,
    ]  # fmt: skip
    total = np.zeros_like(A)
    for i in range(3):
        for j in range(2):
            (alone, _, _), pull_alone = layer.vjp(P, A, sides[j], costs[i, 0])
            assert np.array_equal(alone, x[i, j])
            total += pull_alone(np.ones(8), None, None)[1]
    assert np.allclose(total, A_bar, rtol=1e-9)


def test_dense_and_sparse_matrices_are_one_program():
    P, A, b, c = (ONE.data[name] for name in NAMES)
    whole = (P + sp.triu(P, 1).T).toarray()
    dense = ConeLayer(from_diffcp(A.toarray(), b, c, ONE.cone, whole))
    (x, y, s), pull_dense = dense.vjp(A.toarray(), b, c, whole)
    outputs, pull_sparse = ConeLayer(ONE.structure()).vjp(P, A, b, c)
    assert all(np.allclose(v, w, atol=1e-9) for v, w in zip((x, y, s), outputs, strict=True))
    A_dense, b_dense, _, P_dense = pull_dense(np.ones(8), np.ones(len(b)), None)
    P_bar, A_bar, b_bar, _ = pull_sparse(np.ones(8), np.ones(len(b)), None)
    stored = A_bar.toarray() != 0
    assert np.allclose(A_dense[stored], A_bar.toarray()[stored], atol=1e-9)
    assert np.allclose(b_dense, b_bar, atol=1e-9)
    assert np.array_equal(P_dense, P_dense.T)
    off = np.triu(np.ones((8, 8)), 1) + np.eye(8) / 2  # an entry of one triangle stands for two
    assert np.allclose(P_bar.toarray(), 2 * P_dense * off, atol=1e-9)


def test_parameters_and_variables_are_chosen_by_name():
    P, A, b, c = (ONE.data[name] for name in NAMES)
    whole = ConeLayer(ONE.structure())(P, A, b, 2 * c)
    layer = ConeLayer(ONE.structure(), ["c", "b"], ["s", "x"])
    assert repr(layer).startswith("ConeLayer(c (8,), b (11,) -> s (11,), x (8,); quadratic cone")
    s, x = layer(2 * c, b)
    assert np.allclose(x, whole[0], atol=1e-9)
    assert np.allclose(s, whole[2], atol=1e-9)
    assert all(np.array_equal(v, w) for v, w in zip(layer(b=b, c=2 * c), (s, x), strict=True))
    dots = {"b": np.zeros_like(b), "c": c}
    _, moved = layer.jvp({"c": 2 * c, "b": b}, dots)
    _, others = layer.jvp((2 * c, b), (c, 0 * b))
    assert all(np.array_equal(v, w) for v, w in zip(moved, others, strict=True))
    assert "ConeLayer" in layer._repr_html_()


def test_bounds_that_are_infinite_are_not_read():
    low = np.array([0.0, -np.inf, -np.inf])
    layer = ConeLayer(from_qp(np.eye(3), -np.ones(3), lb=low), ["lb"], ["x"])
    (x,), pull_back = layer.vjp(np.array([2.0, np.nan, 7.0]))
    assert np.allclose(x, [2.0, 1.0, 1.0])
    (low_bar,) = pull_back(np.ones(3))
    assert np.allclose(low_bar, [1.0, 0.0, 0.0])
    with pytest.raises(InvalidInput, match="lb has NaN or infinite"):
        layer(low - np.inf)


def test_a_linear_program_has_informative_gradients_of_its_costs():
    simplex = from_qp(None, np.arange(3.0), A=np.ones((1, 3)), b=[1.0], lb=np.zeros(3))
    layer = ConeLayer(simplex, ["q"], ["x"], single=True)
    x, pull_back = layer.vjp(np.array([1.0, 1.2, 3.0]))
    (q_bar,) = pull_back(np.array([0.0, -1.0, 0.0]))  # we want more of the second
    assert np.allclose(x, [1, 0, 0])
    assert q_bar[1] > 0 > q_bar[0]


@pytest.mark.parametrize("derivative", [LPGD(), LPGD(tau=1.0)], ids=str)
def test_a_slacks_cotangent_is_one_of_x_and_of_the_right_side(derivative):
    """s = b - Ax, also where gradients of a linear program's costs look further."""
    rng, low = np.random.default_rng(0), np.zeros(3)
    q, A, G = np.array([1.0, 1.2, 3.0]), np.ones((1, 3)), rng.normal(size=(4, 3))
    h = G @ np.full(3, 1 / 3) + rng.random(4)
    values = (q, G, h, A, [1.0], low)
    layer = ConeLayer(from_qp(None, q, G, h, A, [1.0], low), derivative=derivative)
    _, pull_back = layer.vjp(*values)
    s_bar = rng.normal(size=8)
    rows = np.vstack([A, G, -np.eye(3)])
    of_s, of_x = pull_back(None, None, s_bar), pull_back(-rows.T @ s_bar, None, None)
    assert abs(of_s[0]).max() > 0.1
    assert np.allclose(of_s[0], of_x[0], atol=1e-12)
    assert np.allclose(of_s[2] - of_x[2], s_bar[1:5], atol=1e-12)
    assert np.allclose(of_s[4] - of_x[4], s_bar[:1], atol=1e-12)
    assert np.allclose(of_s[5] - of_x[5], -s_bar[5:], atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_a_slacks_tangent_is_zero_where_the_solution_is_a_vertex(scale):
    """Rounding of s_dot = b_dot - A x_dot is 0, whatever its scale, and no warning is due."""
    one = case("z l q", True)
    layer = ConeLayer(one.structure(), ["c", "b"])
    b, c = one.data["b"], one.data["c"]
    _, (x_dot, y_dot, s_dot) = layer.jvp((2 * c, b), (scale * c, 0 * b))
    assert not x_dot.any()
    assert not s_dot.any()
    assert abs(y_dot).max() > 0.1 * scale
    assert layer.info.gradient_error < 1e-6


def test_the_optimal_value_has_the_gradient_of_danskin():
    P, A, _b, c = (ONE.data[name] for name in NAMES)
    layer = ConeLayer(ONE.structure())
    x, y, _ = layer(**ONE.data)
    value, pull_back = layer.optimal_value_vjp(**ONE.data)
    whole = P + sp.triu(P, 1).T
    assert np.isclose(value, 0.5 * x @ whole @ x + c @ x)
    P_bar, A_bar, b_bar, c_bar = pull_back(1.0)
    assert np.allclose(c_bar, x)
    assert np.allclose(b_bar, -y)
    assert np.allclose(A_bar.toarray(), np.outer(y, x) * (A.toarray() != 0))
    wanted = np.triu(np.outer(x, x)) - np.diag(x**2) / 2
    assert np.allclose(P_bar.toarray(), wanted)


def test_samples_that_fail_are_nan_or_an_error():
    structure = from_qp(np.eye(1), np.zeros(1), np.array([[1.0], [-1.0]]), None)
    layer = ConeLayer(structure, ["h"], ["x"], single=True, on_failure="nan")
    sides = np.array([[1.0, 1.0], [-1.0, -1.0]])  # -1 <= x <= 1, and 1 <= x <= -1
    with pytest.warns(FailedSampleWarning):
        x, _pull_back = layer.vjp(sides)
    assert list(layer.info.status) == ["solved", "infeasible"]
    assert np.isnan(x[1]).all()
    with pytest.raises(SolveFailed, match="sample 1"):
        ConeLayer(structure, ["h"])(sides)


def test_an_executor_and_a_pickle_return_the_same():
    wishes = np.random.default_rng(0).normal(size=(6, 3))
    plain = box()
    with ThreadPoolExecutor(2) as pool:
        pooled = box(executor=pool)(-wishes)
    copied = pickle.loads(pickle.dumps(plain))(-wishes)
    assert np.allclose(plain(-wishes), np.clip(wishes, 0, 1), atol=1e-12)
    assert np.array_equal(plain(-wishes), copied)
    assert np.array_equal(plain(-wishes), pooled)


def test_options_are_those_of_other_layers():
    layer = box(solver="CLARABEL", solver_args={"eps": 1e-9}, time_limit=10.0, fallback="SCS")
    wish = np.array([0.5, 2.0, -1.0])
    assert np.allclose(layer(-wish, solver_args={"max_iter": 50}), np.clip(wish, 0, 1), atol=1e-7)
    assert layer(-wish, warm_start=True).shape == (3,)
    with pytest.raises(InvalidOption, match="no option"):
        layer(-wish, solver_args={"strange": 1})


FULL = ConeLayer(ONE.structure())
P0, A0, B0, C0 = (ONE.data[name] for name in NAMES)
STRANGE = sp.csc_matrix(np.ones(A0.shape))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: FULL(P0, A0, B0), "each of P, A, b, c; received 3 tensors, expected 4"),
        (lambda: FULL(P0, A0, B0, C0, C0), "each of P, A, b, c; received 5"),
        (lambda: FULL(P0, A0, B0, C0, c=C0), "c is given twice"),
        (
            lambda: FULL(P0, A0, B0, q=C0),
            "q is neither a parameter of this layer, which has P, A, b",
        ),
        (lambda: FULL(P0, A0.toarray(), B0, C0), "A was made from a sparse matrix, so pass its"),
        (lambda: FULL(P0, A0[:2], B0, C0), r"A is a sparse matrix of shape \(2, 8\), expected"),
        (lambda: FULL(P0, STRANGE, B0, C0), "A has an entry at .*does not store"),
        (lambda: FULL(P0, A0, B0[1:], C0), r"parameter 2 \(b\). Expected \(11,\)"),
        (lambda: FULL(P0, A0, B0 * np.nan, C0), "parameter b has NaN"),
        (lambda: FULL(P0, A0, B0 + 1j, C0), "dtype complex128"),
        (lambda: FULL.vjp(P0, A0, B0, C0)[1](None, None, None), "no cotangent that is not None"),
        (lambda: FULL.vjp(P0, A0, B0, C0)[1](np.ones(8)), "received 1 cotangents, expected 3"),
    ],
)
def test_values_that_do_not_fit_are_errors(call, text):
    with pytest.raises(InvalidInput, match=text):
        call()


def test_a_matrix_that_is_not_symmetric_is_an_error():
    layer = ConeLayer(from_qp(np.eye(2), np.ones(2)))
    with pytest.raises(InvalidInput, match="parameter P must be symmetric"):
        layer(np.array([[1.0, 0.5], [0.0, 1.0]]), np.ones(2))
    sparse = from_qp(sp.csc_matrix(np.array([[2.0, 1.0], [1.0, 2.0]])), np.ones(2))
    with pytest.raises(InvalidInput, match="parameter P must be symmetric"):
        ConeLayer(sparse)(np.array([2.0, 1.0, 0.9, 2.0]), np.ones(2))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ConeLayer("scs"), "made of what from_scs"),
        (lambda: ConeLayer(ONE.structure(), "c"), "parameters must be a list of names"),
        (lambda: ConeLayer(ONE.structure(), ["q"]), "parameters has 'q'; the names are P, A, b, c"),
        (lambda: ConeLayer(ONE.structure(), None, ["z"]), "variables has 'z'"),
        (lambda: ConeLayer(ONE.structure(), None, []), "at least one variable"),
        (lambda: ConeLayer(ONE.structure(), ["c", "c"]), "name each once"),
        (lambda: ConeLayer(ONE.structure(), single=True), "single=True is for a layer of one"),
        (
            lambda: ConeLayer(from_clarabel(None, None, np.ones((0, 2)), None, []), ["b"]),
            "q had no value when the structure was made",
        ),
    ],
)
def test_options_that_do_not_fit_are_errors(make, text):
    with pytest.raises(InvalidOption, match=text):
        make()
