"""SCS: a first-order solver for all cones, quadratic objectives too (https://www.cvxgrp.org/scs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cones import PSD, SOC, Exp, NonNeg, Pow, Zero
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers._each import Answer, sampler, solve_each
from cvxlpgd.solvers._layout import scs_cones
from cvxlpgd.solvers._protocol import checked_options

_STATUS = {
    1: Status.SOLVED,
    2: Status.INACCURATE,
    -1: Status.UNBOUNDED,
    -6: Status.UNBOUNDED,
    -2: Status.INFEASIBLE,
    -7: Status.INFEASIBLE,
}
_DEFAULTS = {"eps_abs": 1e-9, "eps_rel": 1e-9, "eps_infeas": 1e-9, "verbose": False}


@dataclass(frozen=True, init=False)
class SCS:
    """SCS with its own options, such as `SCS(eps_abs=1e-6, max_iters=5000)`.

    Options are those of https://www.cvxgrp.org/scs/api/settings.html, and `eps` for eps_abs and
    eps_rel together. By default both are 1e-9.
    """

    options: tuple[tuple[str, Any], ...]
    name = "SCS"
    requires = ("scs",)
    cones = frozenset({Zero, NonNeg, SOC, PSD, Exp, Pow})
    quadratic = True
    integer = False
    arrays = "numpy"
    option_names = frozenset(
        "normalize scale adaptive_scale rho_x max_iters eps_abs eps_rel eps_infeas alpha "
        "time_limit_secs verbose acceleration_lookback acceleration_interval "
        "write_data_filename log_csv_filename linear_solver".split()
    )

    def __init__(self, **options: Any) -> None:
        tolerances = ("eps_abs", "eps_rel")
        own = checked_options(self.name, options, self.option_names, tolerances, "time_limit_secs")
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with more options."""
        return type(self)(**(dict(self.options) | dict(options)))

    @property
    def accuracy(self) -> float:
        """The larger of eps_abs and eps_rel."""
        settings = _DEFAULTS | dict(self.options)
        return float(max(settings["eps_abs"], settings["eps_rel"]))

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, warm-started from `start`."""
        import scs

        cones = scs_cones(program.structure)
        settings = _DEFAULTS | dict(self.options)

        program_of = sampler(program, upper=True)

        def one(i: int) -> Answer:
            P, q, A, b = program_of(i)
            warm = {}
            if start is not None and start.ok[i]:
                warm = {"x": start.point.x[i], "y": start.point.y[i], "s": start.point.s[i]}
            data, own_cones = {"P": P, "c": q, "A": A, "b": b}, cones
            if not len(b):  # SCS wants a row: 0 x <= 1
                data |= {"A": sp.csc_matrix((1, len(q))), "b": np.ones(1)}
                own_cones, warm = cones | {"l": 1}, {}
            answer = scs.SCS(data, own_cones, **settings).solve(warm_start=bool(warm), **warm)
            info = answer["info"]
            status = _STATUS.get(info["status_val"], Status.FAILED)
            rows = slice(len(b))
            if status not in (Status.SOLVED, Status.INACCURATE):
                return Answer(status, iterations=info["iter"], message=info["status"])
            x, y, s = answer["x"], answer["y"][rows], answer["s"][rows]
            return Answer(status, x, y, s, info["iter"], info["status"])

        return solve_each(program, one)
