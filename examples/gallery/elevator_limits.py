"""
What an elevator may do
=======================

An elevator plans its rides by a quadratic program: reach the floor soon, without jolts, below a
largest speed and a largest acceleration. Somebody watches five rides from outside. How fast may
the elevator go, how hard may it push, and how much does it care for comfort?

The program is written as matrices, as one has them for a solver, and not in CVXPY: ``from_qp``
takes them, and a ``ConeLayer`` is the program as a function of those that are unknown.

**What to see.** Above, a ride of twelve metres. Dots are what was measured, and the dashed line is
the first guess, which goes faster than this elevator may. The plan with learned limits goes through
the dots, and its speed has the plateau of the true limit. Below, the three estimates approach the
true values, which are dotted.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
import torch

from cvxlpgd.cone_programs import from_qp
from cvxlpgd.torch import ConeLayer

torch.set_default_dtype(torch.float64)

# %%
# Variables are position, speed and acceleration at each of 24 moments, 0.4 seconds apart,
# one after the other. Each moment follows from the one before. The target is position 0.

STEP, MOMENTS = 0.4, 24
now = np.array([[1.0, 0, 0], [0, 1, 0]])
before = np.array([[-1.0, -STEP, -(STEP**2) / 2], [0, -1, -STEP]])
dynamics = sp.kron(sp.eye_array(MOMENTS), now) + sp.kron(sp.eye_array(MOMENTS, k=-1), before)
A = sp.csc_array(dynamics)  # of the first moment: where it starts, and with which speed

kinds = np.tile(["position", "speed", "acceleration"], MOMENTS)
P = sp.diags_array(np.where(kinds == "speed", 0.0, 1.0), format="csc")
free = np.where(kinds == "position", np.inf, 1.0)
structure = from_qp(P, np.zeros(3 * MOMENTS), A=A, b=None, lb=-free, ub=free)
layer = ConeLayer(structure, ["P", "b", "lb", "ub"], ["x"], single=True)
print(layer)

# %%
# A call takes P by its stored entries. Infinite bounds are none, and are not read.

is_speed, is_push = (torch.tensor(kinds == name) for name in ("speed", "acceleration"))
stored = torch.tensor(P.data)  # the positions' weights; those of the accelerations follow


def ride(starts, speed, push, comfort):
    """Positions, speeds and accelerations (rides, moments, 3)."""
    entries = torch.where(is_push[torch.tensor(P.indices)], comfort, stored)
    limit = torch.where(is_speed, speed, torch.where(is_push, push, torch.inf))
    b = torch.zeros(len(starts), 2 * MOMENTS)
    b[:, 0] = starts
    return layer(P=entries, b=b, lb=-limit, ub=limit).reshape(-1, MOMENTS, 3)


true = torch.tensor([1.8, 0.9, 1.0])
names = ["speed, m/s", "acceleration, m/s²", "comfort"]
starts = torch.tensor([-14.0, -7.0, -3.0, 6.0, 12.0])
noise = 0.03 * torch.randn(5, MOMENTS, generator=torch.Generator().manual_seed(0))
measured = ride(starts, *true)[..., 0] + noise  # positions alone, to 3 cm

# %%
# The loss is the squared error of the positions. All three unknowns are positive, so their
# logarithms are learned.

first = torch.tensor([3.0, 2.0, 0.4])
logarithms = first.log().requires_grad_()
optimizer = torch.optim.Adam([logarithms], lr=0.12)
path = []
for _ in range(60):
    optimizer.zero_grad()
    guess = logarithms.exp()
    (ride(starts, *guess)[..., 0] - measured).square().mean().backward()
    path.append(guess.detach())
    optimizer.step()
path = torch.stack(path)
for name, value, wanted in zip(names, path[-1], true, strict=True):
    print(f"{name}: {value:.3f}, truly {wanted:.3f}")

# %%
times = STEP * np.arange(MOMENTS)
figure, axes = plt.subplot_mosaic([["left", "right"], ["below", "below"]], figsize=(6.4, 6))
left, right, below = axes["left"], axes["right"], axes["below"]
for values, style, label in ((path[0], "--", "first guess"), (path[-1], "-", "learned")):
    plan = ride(starts[-1:], *values)[0].numpy()
    left.plot(times, plan[:, 0], style, label=label)
    right.plot(times, -plan[:, 1], style, label=label)
left.plot(times, measured[-1], "o", color="0.3", ms=3, label="measured")
right.axhline(true[0], color="0.3", ls=":")
left.set(title="position, m", xlabel="seconds")
right.set(title="speed, m/s", xlabel="seconds")
left.legend()
for k, name in enumerate(names):
    (line,) = below.plot(path[:, k], label=name)
    below.axhline(true[k], color=line.get_color(), ls=":")
below.set(title="estimates", xlabel="steps of Adam", ylim=0)
below.legend(loc="upper right")
plt.show()

# %%
# **Try:** measure two rides only, or the short ones: a limit that no ride reaches leaves no trace.
