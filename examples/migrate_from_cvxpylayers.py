"""From cvxpylayers to cvxlpgd: the import line changes, nothing else has to.

What one learns: the constructor, the call and the spellings of solver_args stay as they were;
"mode": "lsqr" still means the exact derivative of diffcp. Without it the gradient is LPGD's, and a
linear program, whose exact gradient is zero wherever its solution is a vertex, can be trained.

The layer picks the cheapest of six options; the costs are learned so that it picks the last one.
"""

import warnings

import cvxpy as cp
import torch

# from cvxpylayers.torch import CvxpyLayer
from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.torch import CvxpyLayer

x = cp.Variable(6)
cost = cp.Parameter(6)
problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == 1, x >= 0])
layer = CvxpyLayer(problem, parameters=[cost], variables=[x])

target = torch.eye(6, dtype=torch.float64)[2]
start = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)


def steps_to_target(solver_args, limit=50):
    """Gradient steps until the target is picked, None if it is not."""
    costs = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([costs], lr=1.0)
    for step in range(limit):
        (picked,) = layer(costs, solver_args=solver_args)
        if torch.allclose(picked, target, atol=1e-4):
            return step
        loss = ((picked - target) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return None


exact = {"solve_method": "Clarabel", "mode": "lsqr"}
lpgd = {"solve_method": "Clarabel"}
fixed = {"solve_method": "Clarabel", "mode": "lpgd_right", "derivative_kwargs": {"tau": 2.0}}

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DegenerateGradientWarning)  # it names the remedy: LPGD()
    stuck = steps_to_target(exact)
found, found_fixed = steps_to_target(lpgd), steps_to_target(fixed)
print("exact derivative:  target", "reached" if stuck else "not reached in 50 steps")
print("LPGD, tau chosen:  target reached after", found, "steps")
print("LPGD, tau = 2:     target reached after", found_fixed, "steps")

assert stuck is None
assert None not in (found, found_fixed)
