"""The library's solvers, one row each: all that is said of a solver outside of its own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.daqp import DAQP
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.gurobi import Gurobi
from cvxlpgd.solvers.highs import HiGHS
from cvxlpgd.solvers.moreau.solver import Moreau
from cvxlpgd.solvers.osqp import OSQP
from cvxlpgd.solvers.piqp import PIQP
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.qpth import QPTH
from cvxlpgd.solvers.refine.solver import Refined
from cvxlpgd.solvers.scs import SCS


@dataclass(frozen=True)
class SolverRow:
    """A solver of the library."""

    adapter: Callable[[], Solver]  # its class, which makes the solver with its default options
    extra: str | None = None  # of pyproject.toml, where the library does not require it itself
    # what solver=None asks in its place where solutions are to be refined; itself if None
    refined: Callable[[], Solver] | None = None
    on_demand: bool = False  # whether users ask for it by name only: solver=None never does
    lifts: bool = False  # whether its file turns a quadratic objective into a second-order cone


def _refined_scs() -> Solver:
    """SCS, whose rough solves share one factorization where they share their matrices.

    A few iterations lead most samples to where Newton's method converges. The others come from an
    interior point that stops early, whose steps do not mind scales that SCS is slow at, or calls
    infeasible; measured, it takes as long as 50 to 100 of SCS' iterations.
    """
    rough = SCS(eps=3e-3, adaptive_scale=False, acceleration_lookback=0, max_iters=25)
    return Refined(SCS(), (rough, Clarabel(eps=1e-7), Clarabel()))


SOLVERS: dict[str, SolverRow] = {
    row.adapter().name: row
    for row in (
        SolverRow(Clarabel, refined=lambda: Refined(Clarabel())),
        SolverRow(SCS, refined=_refined_scs),
        SolverRow(ECOS, "ecos", lambda: Refined(ECOS()), lifts=True),
        SolverRow(DAQP, "daqp"),
        SolverRow(HiGHS),
        SolverRow(PIQP, "piqp", lambda: Refined(PIQP())),
        SolverRow(OSQP, "osqp"),
        SolverRow(Moreau, "moreau"),
        SolverRow(QPTH, on_demand=True),
        SolverRow(Gurobi, "gurobi", on_demand=True),
    )
}  # by name, in capitals
