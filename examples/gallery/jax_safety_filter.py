r"""
A safety filter in a compiled loop, in JAX
==========================================

A robot shall reach a goal, and never enter the discs in its way. A filter sees to the second: at
each step it changes the velocity that the pilot wants as little as possible, so that the robot may
not come nearer to a disc too fast. That is a small quadratic program, here a layer inside of
``jax.lax.scan``. The pilot knows nothing of discs. It learns from the gradient of where the robot
ends up, through forty filtered steps, compiled as a whole by ``jax.jit``.

**What to see.** The pilot first heads straight for the star. The filter keeps it safe, and all
robots but one get stuck between two discs. After training the pilot goes around. No path of either
enters a disc.
"""

import cvxpy as cp
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from cvxlpgd.jax import CvxpyLayer

centers = jnp.array([[0.2, 0.0], [-0.1, 0.75], [-0.1, -0.75]])
radii = jnp.array([0.5, 0.4, 0.4])
goal, step = jnp.array([2.2, 0.0]), 0.14

# %%
# The filter: of all velocities that are safe, the one nearest to the wanted one. For the distance
# function :math:`h_k = |p - c_k|^2 - r_k^2` of each disc, safe means :math:`\dot h_k \ge -2 h_k`,
# which is linear in the velocity.

velocity, wanted = cp.Variable(2), cp.Parameter(2)
slopes, least = cp.Parameter((3, 2)), cp.Parameter(3)
nearest = cp.Minimize(cp.sum_squares(velocity - wanted))
problem = cp.Problem(nearest, [slopes @ velocity >= least])
safe = CvxpyLayer(problem, [wanted, slopes, least], [velocity], on_failure="nan", single=True)


def filtered(position, wish):
    away = position[..., None, :] - centers
    h = jnp.sum(away**2, axis=-1) - radii**2
    return safe(wish, 2 * away, -2 * h)


# %%
# The pilot: straight to the goal, plus what a small network adds. A run is a scan of filtered steps
# from a batch of starts. Its loss is how far from the goal it ends, and a little for its length.


def pilot(weights, position):
    W, b, V = weights
    ahead = goal - position
    ahead = ahead / jnp.sqrt(0.1 + jnp.sum(ahead**2, axis=-1, keepdims=True))
    return ahead + jnp.tanh(position @ W + b) @ V


def run(weights, starts):
    def advance(position, _):
        position = position + step * filtered(position, pilot(weights, position))
        return position, position

    return jax.lax.scan(advance, starts, length=40)[1]


def loss(weights, starts):
    path = run(weights, starts)
    steps = jnp.sum(jnp.diff(path, axis=0) ** 2, axis=-1)
    return jnp.mean(jnp.sum((path[20:] - goal) ** 2, axis=-1)) + 10 * jnp.mean(steps)


# %%
# Adam in three lines; an optimizer from a library would do.


@jax.jit
def train(weights, mean, square, count):
    value, gradient = jax.value_and_grad(loss)(weights, starts)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
    square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g**2, square, gradient)
    rate = 0.1 * jnp.sqrt(1 - 0.99**count) / (1 - 0.9**count)
    move = jax.tree.map(lambda m, s: rate * m / (jnp.sqrt(s) + 1e-8), mean, square)
    return jax.tree.map(jnp.subtract, weights, move), mean, square, value


rng = np.random.default_rng(0)
starts = jnp.stack([jnp.full(24, -2.2), jnp.linspace(-1.5, 1.1, 24)], axis=-1)
shapes = (2, 16), (16,), (16, 2)
untrained = tuple(
    jnp.asarray(rng.normal(scale=s, size=n)) for s, n in zip((1, 1, 0), shapes, strict=True)
)
weights, mean, square = untrained, *(jax.tree.map(jnp.zeros_like, untrained) for _ in range(2))
for count in range(1, 26):
    weights, mean, square, value = train(weights, mean, square, count)
print(f"loss: {loss(untrained, starts):.2f} -> {value:.2f}")

# %%
# Both pilots from the same starts.

figure, axes = plt.subplots(2, 1, figsize=(6.4, 6.2), sharex=True)
pilots = {"before": untrained, "after training": weights}
for ax, (name, own) in zip(axes, pilots.items(), strict=True):
    paths = np.concatenate([starts[None], run(own, starts)])
    for center, radius in zip(centers, radii, strict=True):
        ax.add_patch(plt.Circle(center, radius, color="0.82"))
        inside = np.linalg.norm(paths - center, axis=-1) < radius - 1e-3
        assert not inside.any()
    ax.plot(paths[..., 0], paths[..., 1], color="C0", lw=1)
    ax.plot(*starts.T, "o", color="C0", ms=3)
    ax.plot(*paths[-1].T, "o", color="C1", ms=6)
    ax.plot(*goal, "*", color="C3", ms=16)
    ax.set(title=name, aspect="equal", xlim=(-2.5, 2.6), ylim=(-2.7, 1.6))
    ax.grid(False)
plt.show()

# %%
# **Try:** put a disc in the new way, or a more careful filter, ``-0.5 * h`` in place of ``-2 * h``.
