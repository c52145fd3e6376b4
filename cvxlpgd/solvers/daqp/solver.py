"""DAQP: dense dual active sets, for strictly convex QPs and LPs (https://darnstrom.github.io/daqp)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.program import ConeProgram, Solution
from cvxlpgd.solvers.daqp.linear import Linear, LinearForm
from cvxlpgd.solvers.daqp.models import model_of, reductions_of
from cvxlpgd.solvers.daqp.quadratic import Form, Quadratic
from cvxlpgd.solvers.options import Configured, Options
from cvxlpgd.solvers.run.each import of_sample
from cvxlpgd.solvers.run.prepared import solve_prepared
from cvxlpgd.solvers.translate.bounds import Bounds

PROXIMAL = 1.0  # weight of a linear program's proximal term, with q and rows of size 1


@dataclass(frozen=True, init=False)
class DAQP(Configured):
    """DAQP with its own options, such as `DAQP(primal_tol=1e-8, iter_limit=1000)`.

    Options are those of https://darnstrom.github.io/daqp/parameters, and `eps` for primal_tol. The
    default is 1e-10. The objective must be linear, or strictly convex once variables that equations
    define, such as t = Sx, are eliminated. Samples with another objective fail.
    """

    name = "DAQP"
    requires = ("daqp",)
    cones = frozenset({Zero, NonNeg})
    quadratic = True
    known = Options(
        "primal_tol dual_tol zero_tol pivot_tol progress_tol cycle_tol iter_limit fval_bound "
        "sing_tol refactor_tol time_limit verbose",
        # An active set is exact up to rounding; tolerances only tell what is violated.
        defaults={"primal_tol": 1e-10, "dual_tol": 1e-12, "eps_prox": 0.0, "eq_reduction": -1},
        tolerances=("primal_tol",),
        time_limit="time_limit",
    )

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        """Solve each sample, from the active set of `start`."""
        structure, bounds, settings = program.structure, Bounds.of(program), self.settings
        settings.pop("verbose", None)  # it has nothing to say
        if not structure.P.size:
            settings |= {"eps_prox": PROXIMAL, "eq_reduction": 0}
            linear = partial(Linear, bounds, settings)
            # nothing of a set-up is worth keeping
            form = LinearForm(program, bounds)
            solution = solve_prepared(self, program, start, linear, lasting=False, form=form)
            return bounds.with_slack(solution, program)
        prepare = partial(Quadratic, structure, reductions_of(structure, bounds), settings)
        solution = solve_prepared(self, program, start, prepare, form=Form(program))
        return bounds.with_slack(solution, program)


def strictly_convex(program: ConeProgram) -> bool:
    """Whether DAQP takes the first sample's P, once defined variables are eliminated."""
    w = program.data
    reductions = reductions_of(program.structure, Bounds.of(program))
    P, A = of_sample(w.P, 0), of_sample(w.A, 0)
    return model_of(program.structure, reductions, DAQP.known.defaults, P, A).flag >= 0
