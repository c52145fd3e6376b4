"""How a perturbed solution moves: a picture of the path that LPGD follows.

What one learns: the solutions x(t) of a quadratic program whose cost moves along the cotangent,
q + t x_bar, lie on straight pieces. The linearization at t = 0 is the piece that the solution is
on, and its slope is the exact gradient q_bar; it holds up to the breakpoints, where an inequality
becomes active or inactive. At a finite tau LPGD's gradient is the slope of a chord: the same
between the breakpoints, another one beyond them.

    python -m examples.path_picture --plot docs/path.png
"""

import argparse

import cvxpy as cp
import numpy as np

from cvxlpgd import LPGD
from cvxlpgd.numpy import CvxpyLayer

x, q = cp.Variable(3, name="x"), cp.Parameter(3, name="q")
objective = cp.Minimize(cp.sum_squares(x) / 2 + q @ x)
problem = cp.Problem(objective, [cp.sum(x) == 1, x >= 0, x <= 0.85])
q_value, x_bar = np.array([-0.3, -0.25, -0.05]), np.array([-1.0, 0.3, 0.7])
COLORS = "#d95f02", "#7570b3", "#1b9e77"
NEAR, FAR, SHOWN = 0.2, 0.7, 0.8  # two taus, and how far t goes in the picture

layer = CvxpyLayer(problem, [q], [x])  # LPGD(), which is its own limit tau -> 0 here
(x_star,), pullback = layer.vjp(q_value)
(q_bar,) = pullback(x_bar)
ahead, behind = layer.info.breakpoints


def solved(t):
    """The points x(t), each the solution of its own program."""
    return CvxpyLayer(problem, [q], [x])(q_value + np.multiply.outer(t, x_bar))[0]


def average(tau):
    """LPGD's gradient at this tau, from both sides."""
    _, pullback = CvxpyLayer(problem, [q], [x], derivative=LPGD(tau=tau)).vjp(q_value)
    return pullback(x_bar)[0]


def draw(path):
    """Left the path and its linearization, right one entry of it with the chords at both taus."""
    from matplotlib.figure import Figure

    t, near = np.linspace(-SHOWN, SHOWN, 321), np.array([-behind, ahead])
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, title in ((left, "the path and its linearization"), (right, "slopes of x1(t)")):
        axis.axvspan(*near, color="gray", alpha=0.15, lw=0, label="between the breakpoints")
        axis.set(xlabel="t", xlim=(-SHOWN, SHOWN), ylim=(-0.05, 0.92), title=title)
    for j, (color, values) in enumerate(zip(COLORS, solved(t).T, strict=True)):
        left.plot(t, values, color=color, lw=2.5, label=f"x{j + 1}(t), solved")
        left.plot(t, x_star[j] + t * q_bar[j], "--", color="black", lw=1)
        left.plot(near, x_star[j] + near * q_bar[j], "o", color=color)
    left.plot([], [], "--", color="black", lw=1, label="linearization at t = 0")
    right.plot(t, solved(t)[:, 0], color=COLORS[0], lw=2.5, label="x1(t), solved")
    right.plot(t, x_star[0] + t * q_bar[0], "--", color="black", lw=1)
    right.plot([], [], "--", color="black", lw=1, label=f"linearization: {q_bar[0]:.2f}")
    for tau, color in ((NEAR, "tab:blue"), (FAR, "tab:red")):
        ends, label = np.array([-tau, tau]), f"average at tau = {tau}: {average(tau)[0]:.2f}"
        right.plot(ends, solved(ends)[:, 0], "s-", color=color, lw=1.5, label=label)
    for axis in (left, right):
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.path_picture")
    parser.add_argument("--plot", metavar="PNG", help="where the picture goes")
    chosen = parser.parse_args()
    print(f"limit      {q_bar.round(3)}, straight for -{behind:.3f} < t < {ahead:.3f}")
    for tau in (NEAR, FAR):
        print(f"tau = {tau}  {average(tau).round(3)}")
    if chosen.plot:
        draw(chosen.plot)
