"""ECOS: an interior-point solver for linear, second-order and exponential cones.

https://github.com/embotech/ecos
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import SOC, Exp, NonNeg, Zero
from cvxlpgd.program import ConeProgram, Solution, Status
from cvxlpgd.solvers._each import Answer, sample, solve_each
from cvxlpgd.solvers._layout import exponential, lift, scs_cones
from cvxlpgd.solvers._protocol import checked_options

_STATUS = {
    0: Status.SOLVED,
    10: Status.INACCURATE,
    1: Status.INFEASIBLE,
    11: Status.INFEASIBLE,
    2: Status.UNBOUNDED,
    12: Status.UNBOUNDED,
}
_TOLERANCES = ("feastol", "abstol", "reltol")
_DEFAULTS = {"verbose": False} | dict.fromkeys(_TOLERANCES, 1e-9)


@dataclass(frozen=True, init=False)
class ECOS:
    """ECOS with its own options, such as `ECOS(abstol=1e-6, max_iters=50)`.

    Options are those of ecos.solve, and `eps` for feastol, abstol and reltol together. By default
    these are 1e-9. It cannot be warm-started and takes no P: that is lifted to a second-order cone.
    """

    options: tuple[tuple[str, Any], ...]
    name = "ECOS"
    requires = ("ecos",)
    cones = frozenset({Zero, NonNeg, SOC, Exp})
    quadratic = True
    integer = False
    arrays = "numpy"
    option_names = frozenset(
        "feastol abstol reltol feastol_inacc abstol_inacc reltol_inacc max_iters nitref "
        "verbose".split()
    )

    def __init__(self, **options: Any) -> None:
        own = checked_options(self.name, options, self.option_names, _TOLERANCES, None)
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options."""
        return type(self)(**(dict(self.options) | dict(options)))

    @property
    def accuracy(self) -> float:
        """The largest of the three tolerances."""
        settings = _DEFAULTS | dict(self.options)
        return float(max(settings[name] for name in _TOLERANCES))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample; `start` cannot help an interior-point method."""
        import ecos

        lifted = lift(program) if program.structure.P.size else None
        linear = lifted.program if lifted else program
        order = exponential(linear.structure, (0, 2, 1))
        ordered = order.program(linear)
        settings = _DEFAULTS | dict(self.options)
        cones = scs_cones(linear.structure)
        zeros, dims = cones["z"], {"l": cones["l"], "q": cones["q"], "e": cones["ep"]}
        # where the original rows are among ECOS's
        places = order.places[lifted.rows] if lifted else order.places

        def one(i: int) -> Answer:
            _, q, A, b = sample(ordered, i)
            rows, rhs = sp.csr_matrix(A), b.copy()
            G, h, cones_of_G = rows[zeros:], rhs[zeros:], dims
            if not len(h):  # ECOS calls a program without G unsolvable, not unbounded: 0 x <= 1
                G, h, cones_of_G = sp.csr_matrix((1, len(q))), np.ones(1), dims | {"l": 1}
            equalities = (_entered(rows[:zeros]), rhs[:zeros]) if zeros else (None, None)
            answer = ecos.solve(q.copy(), _entered(G), h, cones_of_G, *equalities, **settings)
            info = answer["info"]
            status = _STATUS.get(info["exitFlag"], Status.FAILED)
            if status not in (Status.SOLVED, Status.INACCURATE):
                return Answer(status, iterations=info["iter"], message=info["infostring"])
            m = len(b) - zeros
            y = np.concatenate([answer["y"], answer["z"][:m]])[places]
            s = np.concatenate([np.zeros(zeros), answer["s"][:m]])[places]
            x = answer["x"][: program.structure.n]
            return Answer(status, x, y, s, info["iter"], info["infostring"])

        # Each solve installs a handler for Ctrl-C and puts the former one back at its end: solves
        # that overlap in threads would leave ECOS's own behind.
        return solve_each(program, one, parallel=False)


def _entered(matrix: sp.csr_matrix) -> sp.csc_matrix:
    """The matrix by columns, with a zero written out where it has no entry: ECOS wants one."""
    if matrix.nnz:
        return sp.csc_matrix(matrix)
    return sp.csc_matrix((np.zeros(1), ([0], [0])), shape=matrix.shape)
