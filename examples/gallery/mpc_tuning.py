"""
A crane that learns how to brake
================================

A crane drives a hanging load to its place, by model-predictive control: five times a second it
plans the next 1.6 seconds and drives the first move of the plan. The plan's cost has four weights,
for the load's distance, the cart's speed, the swing and the swing's rate. Which weights bring the
load there soonest, and never beyond, where somebody may stand? Nobody can tell from the formula,
but a rollout of the closed loop can be differentiated.

**What to see.** Both cranes start 6 m before the target and are drawn every 0.6 seconds, from pale
to dark. With weights set by hand the load swings into the orange zone and back. With weights
learned from rollouts the same controller brakes a little sooner, and the load comes to rest at the
line.
"""

import warnings

import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxlpgd.errors import DegenerateGradientWarning
from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)

# %%
# The crane itself: the cart is accelerated, and the load hangs on a rope of 2 m.

GRAVITY, ROPE, STEP, HORIZON = 9.81, 2.0, 0.2, 8


def drive(state, acceleration):
    position, speed, angle, rate = state.unbind(-1)
    push = GRAVITY * torch.sin(angle) + acceleration * torch.cos(angle)
    rate = rate - STEP * push / ROPE
    speed = speed + STEP * acceleration
    return torch.stack([position + STEP * speed, speed, angle + STEP * rate, rate], dim=-1)


def load_position(state):
    return state[..., 0] + ROPE * torch.sin(state[..., 2])


# %%
# The controller plans with the linearized crane. Its state now and the weights are parameters.

A, B = torch.autograd.functional.jacobian(drive, (torch.zeros(4), torch.zeros(())))

x, u = cp.Variable((HORIZON + 1, 4)), cp.Variable(HORIZON)
now, weights = cp.Parameter(4), cp.Parameter(4, nonneg=True)
load = x[1:, 0] + ROPE * x[1:, 2]
terms = [load, x[1:, 1], x[1:, 2], x[1:, 3]]
cost = cp.sum_squares(u) / 100 + sum(cp.sum_squares(weights[i] * z) for i, z in enumerate(terms))
dynamics = [x[t + 1] == A.numpy() @ x[t] + B.numpy() * u[t] for t in range(HORIZON)]
problem = cp.Problem(cp.Minimize(cost), [x[0] == now, cp.abs(u) <= 1.5, *dynamics])
controller = CvxpyLayer(problem, parameters=[now, weights], variables=[u])

# %%
# The loss is the mean distance of the load from the target, and five times that beyond it, over
# eight seconds from three starts: a batch. At its limits an acceleration does not depend on the
# weights: that zero gradient is right, so its warning is turned off.

warnings.simplefilter("ignore", DegenerateGradientWarning)
starts = torch.tensor([[-2.0, 0, 0, 0], [-4.0, 0, 0, 0], [-6.0, 0, 0, 0]])


def rollout(weights):
    states = [starts]
    for _ in range(40):
        (plan,) = controller(states[-1], weights)
        states.append(drive(states[-1], plan[:, 0]))
    return torch.stack(states)


def loss(states):
    beyond = load_position(states)
    return (beyond.abs() + 5 * beyond.relu()).mean()


# %%
# By hand one tries to hold speed and swing back more or less. From one such choice we take fifteen
# steps of Adam.

by_hand = {hold: torch.tensor([1, hold, hold, hold]) for hold in (0.1, 0.3, 0.5, 0.7, 1.0)}
for weights in by_hand.values():
    print(f"by hand {weights.numpy()}: loss {loss(rollout(weights)):.2f}")

log_weights = by_hand[0.3].log().requires_grad_()
optimizer = torch.optim.Adam([log_weights], lr=0.25)
for _ in range(15):
    optimizer.zero_grad()
    loss(rollout(log_weights.exp())).backward()
    optimizer.step()
learned = log_weights.exp().detach()
print(f"learned {learned.numpy().round(2)}: loss {loss(rollout(learned)):.2f}")

figure, axes = plt.subplots(2, 1, figsize=(6.4, 5.2), sharex=True)
for ax, title, weights in zip(axes, ["by hand", "learned"], [by_hand[0.3], learned], strict=True):
    states = rollout(weights)
    ax.set_title(f"{title}: loss {loss(states):.2f}")
    cart, angle = states[:, 2, 0], states[:, 2, 2]
    x, y = cart + ROPE * torch.sin(angle), -ROPE * torch.cos(angle)
    ax.axvspan(0, 2, color="C1", alpha=0.15, lw=0)
    ax.axhline(0, color="0.3", lw=3)
    for t in range(0, 41, 3):
        color = plt.cm.YlGnBu(0.25 + 0.75 * t / 40)
        ax.plot([cart[t], x[t]], [0, y[t]], color=color, lw=1.5)
        ax.plot(cart[t], 0, "s", color=color, ms=9)
        ax.plot(x[t], y[t], "o", color=color, ms=15, mec="white")
    ax.set(aspect="equal", xlim=(-6.5, 2), ylim=(-2.5, 0.4), yticks=[])
    ax.grid(False)
axes[1].set_xlabel("metres to the target")
plt.show()

# %%
# **Try:** let the force count too, lengthen ``HORIZON``, which leaves less to the weights, or
# lengthen the rope of ``drive`` alone: the controller's weights then make up for a wrong model.
