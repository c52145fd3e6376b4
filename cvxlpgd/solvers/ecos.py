"""ECOS: an interior-point solver for linear, second-order and exponential cones.

https://github.com/embotech/ecos
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import SOC, Exp, NonNeg, Zero
from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.program.rows import exponential, lift, scs_cones
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import Answer, Sample, sample, solve_each

_STATUS = {
    0: Status.SOLVED,
    10: Status.INACCURATE,
    1: Status.INFEASIBLE,
    11: Status.INFEASIBLE,
    2: Status.UNBOUNDED,
    12: Status.UNBOUNDED,
}


@dataclass(frozen=True, init=False)
class ECOS(Configured):
    """ECOS with its own options, such as `ECOS(abstol=1e-6, max_iters=50)`.

    Options are those of ecos.solve, and `eps` for feastol, abstol and reltol together. By default
    they are 1e-9, 1e-12 and 1e-12. It cannot be warm-started. It takes no P: that is lifted to a
    second-order cone, which costs accuracy (the relative KKT residual is about 1e-7 then) and a
    second solve.
    """

    name = "ECOS"
    requires = ("ecos",)
    cones = frozenset({Zero, NonNeg, SOC, Exp})
    quadratic = True
    known = Options(
        "feastol abstol reltol feastol_inacc abstol_inacc reltol_inacc max_iters nitref  verbose",
        # feastol also says how surely a program is infeasible or unbounded: tighter, and ECOS
        # gives up
        defaults={"verbose": False, "feastol": 1e-9, "abstol": 1e-12, "reltol": 1e-12},
        tolerances=("feastol", "abstol", "reltol"),
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; `start` cannot help an interior-point method."""
        import ecos

        lifted = lift(program) if program.structure.P.size else None
        linear = lifted.program if lifted else program
        order = exponential(linear.structure, (0, 2, 1))
        ordered = order.program(linear)
        # where the original rows are among ECOS's
        places = order.places[lifted.rows] if lifted else order.places
        settings = self.settings
        cones, n = scs_cones(linear.structure), program.structure.n

        def around(i: int, center: np.ndarray) -> Answer:
            """The solution as center + x: q + P center, b - A center, and P as it is."""
            w, own = sample(program, i), sample(ordered, i)
            q, b = own.q.copy(), own.b.copy()
            q[:n] += w.P @ center
            b[places] -= w.A @ center
            centered = own._replace(q=q, b=b)
            status, x, y, s, info = _ecos_solution(ecos, centered, cones, settings)
            if status not in (Status.SOLVED, Status.INACCURATE):
                return Answer(status, iterations=info["iter"], message=info["infostring"])
            x = center + x[:n]
            return Answer(status, x, y[places], s[places], info["iter"], info["infostring"])

        def one(i: int) -> Answer:
            first = around(i, np.zeros(n))
            if lifted is None or first.x is None:
                return first
            # The lift is accurate where x'Px is small: once more around the first solution.
            second = around(i, first.x)
            if second.x is None:
                return first
            return second._replace(iterations=first.iterations + second.iterations)

        # Each solve installs a handler for Ctrl-C and puts the former one back at its end: solves
        # that overlap in threads would leave ECOS's own behind.
        return solve_each(program, one, parallel=False)


def _ecos_solution(
    ecos: Any, ordered: Sample, cones: dict[str, Any], settings: dict[str, Any]
) -> tuple[Status, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """(status, x, y, s, info): zero rows are ECOS's A and b, the others its G and h."""
    _, q, A, b = ordered
    zeros, rows = cones["z"], sp.csr_matrix(A)
    G, h, dims = rows[zeros:], b[zeros:], {"l": cones["l"], "q": cones["q"], "e": cones["ep"]}
    if not len(h):  # without G an unbounded program is a numerical problem to ECOS: 0 x <= 1
        G, h, dims = sp.csr_matrix((1, len(q))), np.ones(1), dims | {"l": 1}
    equalities = (_by_columns(rows[:zeros]), b[:zeros]) if zeros else (None, None)
    answer = ecos.solve(q, _by_columns(G), h, dims, *equalities, **settings)
    y = np.concatenate([answer["y"], answer["z"]])[: len(b)]
    s = np.concatenate([np.zeros(zeros), answer["s"]])[: len(b)]
    info = answer["info"]
    return _STATUS.get(info["exitFlag"], Status.FAILED), answer["x"], y, s, info


def _by_columns(matrix: sp.csr_matrix) -> sp.csc_matrix:
    """The matrix by columns, with a zero written out where it has no entry: ECOS wants one."""
    if matrix.nnz:
        return sp.csc_matrix(matrix)
    return sp.csc_matrix((np.zeros(1), ([0], [0])), shape=matrix.shape)
