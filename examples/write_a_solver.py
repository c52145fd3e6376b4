"""A solver of one's own: a complete adapter, here for linear programs by SciPy's HiGHS.

What one learns: an adapter is a frozen value that declares what it can take and has two methods.
`solve` translates the rows in, calls, and translates the answer back, one sample at a time; the
batch, the residuals, the statuses and every derivative are done for it.

The layer assigns three workers to three jobs; its costs are learned from an observed assignment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InvalidOption
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution, Status
from cvxlpgd.solvers import Answer, sample, solve_each


@dataclass(frozen=True)
class Simplex:
    """scipy.optimize.linprog's dual simplex; `eps` is its feasibility tolerance, both sides."""

    eps: float = 1e-9
    name = "SIMPLEX"
    requires = ("scipy",)
    cones = frozenset({Zero, NonNeg})  # equality and inequality rows
    quadratic = False
    integer = False
    arrays = "numpy"

    @property
    def accuracy(self) -> float:
        return self.eps

    def with_options(self, options: Mapping[str, float]) -> "Simplex":
        if unknown := options.keys() - {"eps"}:
            raise InvalidOption(f"{self.name} has no option {sorted(unknown)}; it has eps")
        return replace(self, **options)

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        from scipy.optimize import linprog

        k = sum(cone.rows for cone in program.structure.cones if isinstance(cone, Zero))
        statuses = {2: Status.INFEASIBLE, 3: Status.UNBOUNDED}
        options = {"primal_feasibility_tolerance": self.eps, "dual_feasibility_tolerance": self.eps}

        def one(i: int) -> Answer:
            _, q, A, b = sample(program, i)  # Ax + s = b: s = 0 in the first k rows, else s >= 0
            upper, equal = (A.tocsr()[k:], b[k:]), (A.tocsr()[:k], b[:k])
            answer = linprog(q, *upper, *equal, (None, None), "highs-ds", options=options)
            if answer.status != 0:
                return Answer(statuses.get(answer.status, Status.FAILED), message=answer.message)
            y = -np.r_[answer.eqlin.marginals, answer.ineqlin.marginals]  # d objective / d b = -y
            return Answer(Status.SOLVED, answer.x, y, b - A @ answer.x, answer.nit)

        return solve_each(program, one, parallel=False)


x, cost = cp.Variable((3, 3)), cp.Parameter((3, 3))
problem = cp.Problem(
    cp.Minimize(cp.sum(cp.multiply(cost, x))), [cp.sum(x, 0) == 1, cp.sum(x, 1) == 1, x >= 0]
)
layer = CvxpyLayer(problem, parameters=[cost], variables=[x], solver=Simplex())
observed, costs = np.eye(3)[[1, 2, 0]], 1 - np.eye(3)
for step in range(20):
    (assigned,), pullback = layer.vjp(costs)
    wrong = int(np.abs(assigned - observed).sum() / 2)
    print(f"step {step}: {wrong} of 3 jobs assigned differently, {layer.info.status}")
    if wrong == 0:
        break
    costs = costs - pullback(assigned - observed)[0]  # the gradient of |assigned - observed|²/2

assert wrong == 0
assert max(layer.info.primal_residual, layer.info.dual_residual) < 1e-9
