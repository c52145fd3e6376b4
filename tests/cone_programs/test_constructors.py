"""Cone programs in the conventions of SCS, Clarabel, diffcp, qpth and qpsolvers."""

from __future__ import annotations

import clarabel
import cvxpy as cp
import diffcp
import ecos
import numpy as np
import pytest
import scipy.sparse as sp
import scs

from cvxlpgd import LPGD, Exact, FiniteDifference
from cvxlpgd.cone_programs import from_clarabel, from_diffcp, from_qp, from_scs
from cvxlpgd.errors import InvalidProblem
from cvxlpgd.numpy import ConeLayer, CvxpyLayer
from tests.cone_programs.programs import case

EVERY = ("z l", "z q", "l q", "z l s", "z ep", "l ed", "l p", "l -p", "z l q s ep ed p")
FIRST_ORDER = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 20_000, "verbose": False}


def close(mine, theirs, tol=1e-6):
    return np.abs(mine - theirs).max() <= tol * max(1.0, np.abs(theirs).max())


def bars_like(outputs, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=v.shape) for v in outputs]


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("parts", EVERY)
def test_scs_has_the_same_point_and_differences_the_same_gradient(parts, quadratic, scale):
    one = case(parts, quadratic, scale=scale)
    theirs = scs.SCS(one.data, one.cone, **FIRST_ORDER).solve()
    outputs, pull_back = ConeLayer(one.structure(), derivative=Exact()).vjp(**one.data)
    for mine, name in zip(outputs, "xys", strict=True):
        assert close(mine, theirs[name], 1e-5)
    bars, values = bars_like(outputs), one.values
    gradients = pull_back(*bars)
    judge = ConeLayer(one.structure(), derivative=FiniteDifference())
    rng = np.random.default_rng(2)
    for k, gradient in enumerate(gradients):
        dots = [np.zeros_like(v) for v in values]
        dots[k] = values[k] * rng.normal(size=values[k].shape)
        _, moved = judge.jvp(values, dots)
        wanted = sum(np.sum(v * bar) for v, bar in zip(moved, bars, strict=True))
        terms = getattr(gradient, "data", gradient) * dots[k]
        assert abs(terms.sum() - wanted) <= 1e-5 * abs(terms).sum(), k


def clarabel_program(seed=0):
    """Cones in another order than the library's, semidefinite rows by the upper triangle."""
    rng = np.random.default_rng(seed)
    cones = [
        clarabel.PowerConeT(0.4),
        clarabel.PSDTriangleConeT(3),
        clarabel.NonnegativeConeT(3),
        clarabel.ExponentialConeT(),
        clarabel.ZeroConeT(2),
        clarabel.SecondOrderConeT(3),
        clarabel.NonnegativeConeT(1),
    ]
    inside = [1, 1, 0.2, 1, 0.1, 1, 0, 0.2, 1, 1, 1, 0, -1, 1, 1, 0, 0, 2, 0, 1, 1]
    dual = [1, 1, 0.2, 1, 0.3, 1, 0, 0, 1, 0, 0, 1, -1, 1, 1, 0.3, -0.2, 1, 0.5, 0, 0]
    m, n = len(inside), 6
    A = sp.csc_matrix(rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.8))
    R = rng.normal(size=(n, n))
    P, x = sp.csc_matrix(np.triu(R @ R.T / n)), rng.normal(size=n)
    P.data[1] = 0.0  # stored all the same
    whole = P + sp.triu(P, 1).T
    b = A @ x + np.array(inside)
    return P, -(whole @ x) - A.T @ np.array(dual) + 0.1 * rng.normal(size=n), A, b, cones


def test_clarabel_has_the_same_point_with_its_cones_in_any_order():
    P, q, A, b, cones = clarabel_program()
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    theirs = clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()
    structure = from_clarabel(P, q, A, b, cones)
    assert structure.names == ("P", "q", "A", "b")
    x, y, s = ConeLayer(structure)(P, q, A, b)
    assert close(x, np.array(theirs.x))
    assert close(s, np.array(theirs.s))
    assert close(y, np.array(theirs.z))


@pytest.mark.parametrize("derivative", [LPGD(), Exact(), LPGD(tau=1e-4)], ids=str)
def test_each_stored_entry_has_the_gradient_of_the_call(derivative):
    """An entry off the diagonal of an upper triangle stands for two of P."""
    P, q, A, b, cones = clarabel_program()
    structure = from_clarabel(P, q, A, b, cones)
    layer = ConeLayer(structure, derivative=derivative)
    values = [P.data, q, A.data, b]
    outputs, pull_back = layer.vjp(*values)
    bars = bars_like(outputs)

    def loss(moved):
        return sum(np.sum(v * bar) for v, bar in zip(layer(*moved), bars, strict=True))

    rng = np.random.default_rng(2)
    for k, gradient in enumerate(pull_back(*bars)):
        direction, h = rng.normal(size=values[k].shape), 1e-6
        ends = []
        for sign in (1.0, -1.0):
            moved = list(values)
            moved[k] = values[k] + sign * h * direction
            ends.append(loss(moved))
        difference = (ends[0] - ends[1]) / (2 * h)
        assert gradient.shape == values[k].shape
        assert np.isclose(np.sum(gradient * direction), difference, rtol=1e-5, atol=1e-7), k


def test_a_triangle_and_the_whole_matrix_are_one_program():
    P, q, A, b, cones = clarabel_program()
    whole = sp.csc_matrix(P + sp.triu(P, 1).T)
    results = []
    for own in (P, whole, whole.toarray(), sp.tril(whole)):
        outputs, pull_back = ConeLayer(from_clarabel(own, q, A, b, cones)).vjp(own, q, A, b)
        gradients = pull_back(*bars_like(outputs))
        results.append((*outputs, *gradients[1:]))
    for others in results[1:]:
        assert all(close(v, w, 1e-9) for v, w in zip(others[:4], results[0][:4], strict=True))


@pytest.mark.parametrize("parts", ["z l q", "z l s", "z l ep"])
@pytest.mark.parametrize("seed", range(3))
def test_diffcp_has_the_same_point_and_derivatives(parts, seed):
    one = case(parts, False, seed=seed)
    A, b, c = (one.data[name] for name in ("A", "b", "c"))
    theirs = diffcp.solve_and_derivative(
        A.copy(), b, c, one.cone, mode="dense", eps=1e-11, max_iters=100_000
    )
    layer = ConeLayer(from_diffcp(A, b, c, one.cone))
    outputs, pull_back = layer.vjp(A, b, c)
    assert all(close(v, w) for v, w in zip(outputs, theirs[:3], strict=True))
    D, DT = theirs[3:]
    bars = bars_like(outputs)
    A_bar, b_bar, c_bar = pull_back(*bars)
    dA, db, dc = DT(*bars)
    assert sp.issparse(A_bar)
    assert close(A_bar.toarray(), dA.toarray(), 1e-4)
    assert close(b_bar, db, 1e-4)
    assert close(c_bar, dc, 1e-4)
    rng = np.random.default_rng(seed)
    A_dot = A.copy()
    A_dot.data = rng.normal(size=A.nnz)
    b_dot, c_dot = rng.normal(size=b.shape), rng.normal(size=c.shape)
    _, dots = layer.jvp((A, b, c), (A_dot, b_dot, c_dot))
    wanted = D(A_dot, b_dot, c_dot)
    assert all(close(v, w, 1e-4) for v, w in zip(dots, wanted, strict=True))


def test_ecos_has_the_same_point():
    one = case("z l q", False, seed=4)
    A, b, c = (one.data[name] for name in ("A", "b", "c"))
    dims = {"l": one.cone["l"], "q": one.cone["q"]}
    theirs = ecos.solve(c, A[2:], b[2:], dims, A[:2], b[:2], verbose=False)
    x, y, s = ConeLayer(one.structure(), solver="ECOS")(**one.data)
    assert close(x, theirs["x"])
    assert close(s[2:], theirs["s"])
    assert close(y, np.append(theirs["y"], theirs["z"]))


def quadratic_program(seed=0, n=5):
    rng = np.random.default_rng(seed)
    L = rng.normal(size=(n, n))
    G, A = rng.normal(size=(6, n)), rng.normal(size=(2, n))
    feasible = 0.2 * rng.normal(size=n)
    lb, ub = np.full(n, -0.5), np.full(n, 0.6)
    lb[1], ub[3] = -np.inf, np.inf
    h = G @ feasible + rng.random(6)
    return L @ L.T + 0.1 * np.eye(n), rng.normal(size=n), G, h, A, A @ feasible, lb, ub


def test_a_quadratic_program_meets_its_optimality_conditions():
    P, q, G, h, A, b, lb, ub = values = quadratic_program()
    x, y, s = ConeLayer(from_qp(*values))(*values)
    equations, inequalities, low, high = np.split(y, [2, 8, 12])
    gradient = P @ x + q + A.T @ equations + G.T @ inequalities
    gradient[np.isfinite(lb)] -= low
    gradient[np.isfinite(ub)] += high
    slack = np.concatenate([b - A @ x, h - G @ x, (x - lb)[lb > -9], (ub - x)[ub < 9]])
    assert np.allclose(gradient, 0, atol=1e-8)
    assert np.allclose(s, slack, atol=1e-8)
    assert (y[2:] > -1e-9).all()
    assert (s[2:] > -1e-9).all()
    assert abs(y @ s) < 1e-8


def test_a_quadratic_program_has_the_gradients_of_its_cvxpy_problem():
    values = quadratic_program()
    x, n = cp.Variable(5), 5
    P, q, low, high = (cp.Parameter(k) for k in ((n, n), n, n, n))
    P = cp.Parameter((n, n), PSD=True)
    G, h, A, b = (cp.Parameter(k) for k in ((6, n), 6, (2, n), 2))
    own = np.arange(n)
    constraints = [A @ x == b, G @ x <= h, x[own != 1] >= low[own != 1],
                   x[own != 3] <= high[own != 3]]  # fmt: skip
    objective = cp.Minimize(0.5 * cp.quad_form(x, P) + q @ x)
    peer = CvxpyLayer(cp.Problem(objective, constraints), [P, q, G, h, A, b, low, high], [x])
    finite = [np.where(np.isfinite(v), v, 0.0) for v in values]
    (theirs,), pull_theirs = peer.vjp(*finite)
    (mine, _, _), pull_mine = ConeLayer(from_qp(*values)).vjp(*values)
    bar = np.arange(5.0)
    assert close(mine, theirs, 1e-9)
    for own, other in zip(pull_mine(bar, None, None), pull_theirs(bar), strict=True):
        assert close(own, other, 1e-8)


def test_an_equality_constrained_quadratic_program_has_its_closed_form():
    rng = np.random.default_rng(3)
    P, q = np.diag([1.0, 2.0, 4.0]), rng.normal(size=3)
    A, b = rng.normal(size=(1, 3)), rng.normal(size=1)
    (x, y, _), pull_back = ConeLayer(from_qp(P, q, A=A, b=b)).vjp(P, q, A, b)
    K = np.linalg.inv(np.block([[P, A.T], [A, np.zeros((1, 1))]]))
    assert close(np.append(x, y), K @ np.append(-q, b), 1e-12)
    bar = rng.normal(size=3)
    _, q_bar, _, b_bar = pull_back(bar, None, None)
    assert close(q_bar, -K[:3, :3] @ bar, 1e-12)
    assert close(b_bar, K[:3, 3] @ bar, 1e-12)


def test_empty_matrices_are_none():
    none = np.zeros(0)
    structure = from_qp(np.eye(2), np.ones(2), none, none, none, none, np.zeros(2))
    assert structure.names == ("P", "q", "lb")
    assert structure.m == 2
    assert from_scs({"A": np.ones((1, 2))}, {"l": 1, "q": [], "s": None, "ep": 0}).m == 1


A = sp.csc_matrix(np.ones((3, 2)))
DATA = {"A": A, "b": np.ones(3), "c": np.ones(2)}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: from_scs(DATA, {"l": 2}), "the cones have 2 rows, and A has 3"),
        (lambda: from_scs(DATA, {"bu": [0.0], "bl": [0.0], "l": 1}), "no box cones"),
        (lambda: from_scs(DATA, {"cs": [1], "l": 2}), "no complex semidefinite cones"),
        (lambda: from_scs(DATA, {"nuc_m": [1], "l": 2}), "no cones 'nuc_m'"),
        (lambda: from_scs(DATA, {"z": 1, "f": 1, "l": 1}), "both z and f"),
        (lambda: from_scs(DATA, {"l": 2.5}), "'l' must be an integer >= 0, not 2.5"),
        (lambda: from_scs(DATA, {"p": [1.5]}), "an exponent between 0 and 1, not 1.5"),
        (lambda: from_scs(DATA, {"p": ["a"]}), "exponent of a power cone must be a number"),
        (lambda: from_scs(DATA, [("l", 3)]), "the cones must be a dictionary"),
        (lambda: from_scs({"b": 1}, {"l": 3}), 'at least the matrix "A"'),
        (lambda: from_scs(DATA | {"Q": 1}, {"l": 3}), "data has Q, which nobody reads"),
        (lambda: from_scs(DATA | {"b": np.ones(2)}, {"l": 3}), r"b has shape \(2,\), expected"),
        (lambda: from_scs(DATA | {"c": [1, np.nan]}, {"l": 3}), "c has NaN or infinite"),
        (lambda: from_scs(DATA | {"P": np.eye(3)}, {"l": 3}), r"P has shape \(3, 3\), expected"),
        (lambda: from_scs(DATA | {"P": [[1, 2], [0, 1]]}, {"l": 3}), "P is not symmetric"),
        (lambda: from_scs(DATA | {"A": [["a"]]}, {"l": 1}), "A has dtype"),
        (
            lambda: from_clarabel(None, None, A, None, [clarabel.GenPowerConeT([0.5, 0.5], 1)]),
            "cvxlpgd has no GenPowerConeT",
        ),
        (lambda: from_clarabel(None, None, A, None, clarabel.ZeroConeT(3)), "must be a list"),
        (lambda: from_qp(None, None), "needs P, q, G, A, lb or ub"),
        (lambda: from_qp(np.eye(2), None, h=np.ones(2)), "h is given without G"),
        (lambda: from_qp(np.eye(2), None, np.ones((3, 2)), [1, 1, np.inf]), "h has NaN or inf"),
        (lambda: from_qp(np.eye(2), None, lb=[-np.inf, np.inf]), "lb has NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make, text):
    with pytest.raises(InvalidProblem, match=text):
        make()


def test_half_a_pattern_is_refused():
    P = sp.csc_matrix(np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.2, 1.0]]))
    with pytest.raises(InvalidProblem, match=r"an entry at \(0, 1\) but none at \(1, 0\)"):
        from_qp(P, np.ones(3))


def test_a_structure_shows_its_sizes():
    assert repr(from_diffcp(A, None, np.ones(2), {"z": 1, "l": 2})) == (
        "ConeStructure(2 variables, 3 rows (1 Zero, 2 NonNeg); inputs A (6,), b (3,), c (2,))"
    )


def test_nothing_of_the_callers_is_written_to():
    P, q, own, b, cones = clarabel_program()
    before = [np.copy(v.data if sp.issparse(v) else v) for v in (P, q, own, b)]
    _, pull_back = ConeLayer(from_clarabel(P, q, own, b, cones)).vjp(P, q, own, b)
    pull_back(np.ones(6), None, None)
    for v, old in zip((P, q, own, b), before, strict=True):
        assert np.array_equal(v.data if sp.issparse(v) else v, old)
