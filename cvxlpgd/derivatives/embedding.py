"""The homogeneous embedding of one sample, by diffcp's operators, and the systems with it.

With z = (x, y - s, 1), N(z) = (Q - I) Π(z) + z = 0 at a solution and M = DN(z): a change of q and b
moves z by -M⁻¹ (∂N/∂(q, b)), and a cotangent is pulled back by M'.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from cvxlpgd.program import Point
from cvxlpgd.program.rows import Lift, scs_cones
from cvxlpgd.solvers.run.each import sample

MODES = ("lsqr", "lsmr", "dense")
SOLVED = 1e-6  # relative residual up to which a linear system counts as solved
REST = 1e-2  # of a cotangent's size: no right-hand side counts as smaller


class Embedding(NamedTuple):
    """One sample's homogeneous embedding. `rows` are the original rows among the lifted ones."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    rows: np.ndarray
    projection: Any  # DΠ_K*(y - s)
    M: Any
    dense: Any  # a function that returns M as an array

    def vjp(
        self, x_bar: np.ndarray, y_bar: np.ndarray, s_bar: np.ndarray, mode: str
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """(q_bar, b_bar) = (x r_w - r_x, y r_w - r_y) with M'r = (DΠ and the scaling)' z_bar; and
        whether that is solved.
        """
        y_wide, s_wide = np.zeros_like(self.y), np.zeros_like(self.y)
        y_wide[self.rows], s_wide[self.rows] = y_bar, s_bar
        x_wide = np.append(x_bar, np.zeros(len(self.x) - len(x_bar)))
        w_bar = -(self.x @ x_wide + self.y @ y_wide + self.s @ s_wide)
        v_bar = self.projection.rmatvec(y_wide + s_wide) - s_wide
        rhs = np.concatenate([x_wide, v_bar, [w_bar]])
        # where a cotangent meets nothing but noise, as at an inactive row, the rhs is noise as well
        least = REST * float(np.linalg.norm(np.concatenate([x_bar, y_bar, s_bar])))
        r, solved = _solve(self, rhs, least, True, mode)
        n = len(self.x)
        q_bar, b_bar = self.x * r[-1] - r[:n], self.y * r[-1] - r[n:-1]
        return q_bar[: len(x_bar)], b_bar[self.rows], solved

    def jvp(
        self, q_dot: np.ndarray, b_dot: np.ndarray, mode: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """(x, y, s) tangents: -(u - x w, DΠ v - y w, DΠ v - v - s w) with M (u, v, w) = ∂N; and
        whether that is solved.
        """
        n, wide = len(self.x), np.zeros_like(self.y)
        wide[self.rows] = b_dot
        c = np.append(q_dot, np.zeros(n - len(q_dot)))
        rhs = np.concatenate([c, wide, [-(c @ self.x) - wide @ self.y]])
        dz, solved = _solve(self, rhs, 0.0, False, mode)
        u, v, w = dz[:n], dz[n:-1], dz[-1]
        moved = self.projection.matvec(v)
        x_dot = -(u - self.x * w)[: len(q_dot)]
        y_dot, s_dot = -(moved - self.y * w)[self.rows], -(moved - v - self.s * w)[self.rows]
        return x_dot, y_dot, s_dot, solved


def embed(lifted: Lift, z: Point, i: int) -> Embedding:
    """The embedding of the i-th sample, its P lifted to a second-order cone, at the solution z."""
    from diffcp import _diffcp
    from diffcp.cones import parse_cone_dict, parse_cone_dict_cpp

    _, c, A, b = sample(lifted.program, i)
    R = lifted.roots[i if len(lifted.roots) > 1 else 0]
    Rx = R @ z.x[i]
    t = Rx @ Rx / 2
    x = np.append(z.x[i], t)
    y, s = np.zeros(len(b)), np.zeros(len(b))
    y[lifted.rows], s[lifted.rows] = z.y[i], z.s[i]
    y[lifted.lifted] = np.concatenate([[t + 0.5, 0.5 - t], -Rx])
    s[lifted.lifted] = np.concatenate([[t + 0.5, t - 0.5], Rx])
    column = [v[:, None] for v in (c, b)]
    Q = sp.csc_matrix(
        sp.bmat([[None, A.T, column[0]], [-A, None, column[1]], [-column[0].T, -column[1].T, None]])
    )
    sizes = {k: v for k, v in scs_cones(lifted.program.structure).items() if v}
    cones = parse_cone_dict_cpp(parse_cone_dict(sizes))
    return Embedding(
        x, y, s, lifted.rows,
        _diffcp.dprojection(y - s, cones, True),
        _diffcp.M_operator(Q, cones, x, y - s, 1.0),
        lambda: _diffcp.M_dense(Q.toarray(), cones, x, y - s, 1.0),
    )  # fmt: skip


def _solve(
    embedding: Embedding, rhs: np.ndarray, least_size: float, transpose: bool, mode: str
) -> tuple[np.ndarray, bool]:
    """Solve with M or M' by the mode, or by those after it; and whether the residual is small.

    Residuals are relative to the right-hand side, or to `least_size` where that is larger.
    """
    from diffcp import _diffcp

    if not rhs.any():
        return rhs * 0.0, True
    operator = embedding.M.transpose() if transpose else embedding.M
    size = max(float(np.linalg.norm(rhs)), least_size)
    best, least = rhs * 0.0, np.inf
    for method in MODES[MODES.index(mode) :]:
        if method == "lsqr":
            trial = _diffcp.lsqr(operator, rhs).solution
        elif method == "lsmr":
            linear = sla.LinearOperator((len(rhs),) * 2, operator.matvec, operator.rmatvec)
            exact = {"atol": 1e-14, "btol": 1e-14, "conlim": 0, "maxiter": 10 * len(rhs)}
            trial = sla.lsmr(linear, rhs, **exact)[0]
        else:
            M = embedding.dense()
            trial = np.linalg.lstsq(M.T if transpose else M, rhs, rcond=None)[0]
        residual = float(np.linalg.norm(operator.matvec(trial) - rhs)) / size
        if residual < least:
            best, least = trial, residual
        if least <= SOLVED:
            break
    return best, bool(least <= SOLVED)
