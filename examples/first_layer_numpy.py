"""A first layer in NumPy: solutions, gradients both ways, and how to check them.

What one learns: `layer(...)` solves, `layer.vjp` gives the solution and a function from its
cotangent to the parameters' cotangents (reverse mode), `layer.jvp` the solution and its tangent
(forward mode). The two are adjoint, <x_bar, J p_dot> = <J' x_bar, p_dot>, and both agree with
differences of the solution; `layer.info` says how well each sample was solved.
"""

import cvxpy as cp
import numpy as np

from cvxlpgd.numpy import CvxpyLayer

m, n, batch = 8, 4, 6
x = cp.Variable(n, name="x")
A = cp.Parameter((m, n), name="A")
b = cp.Parameter(m, name="b")
problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [cp.norm1(x) <= 1])
layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])

rng = np.random.default_rng(0)
A_value = rng.normal(size=(m, n))  # one matrix, shared by the batch
b_values = rng.normal(size=(batch, m))
x_bar = rng.normal(size=(batch, n))  # the gradient of some loss with respect to x
A_dot, b_dot = rng.normal(size=(m, n)), rng.normal(size=(batch, m))

(x_star,), pullback = layer.vjp(A_value, b_values)
A_bar, b_bar = pullback(x_bar)
print("solutions", x_star.shape, " A_bar", A_bar.shape, " b_bar", b_bar.shape)
print("status", layer.info.status, " iterations", layer.info.iterations)

_, (x_dot,) = layer.jvp((A_value, b_values), (A_dot, b_dot))
forward, reverse = np.sum(x_bar * x_dot), np.sum(A_bar * A_dot) + np.sum(b_bar * b_dot)
print(f"<x_bar, J p_dot> = {forward:.6f}   <J' x_bar, p_dot> = {reverse:.6f}")

h = 1e-4
(above,) = layer(A_value + h * A_dot, b_values + h * b_dot)
(below,) = layer(A_value - h * A_dot, b_values - h * b_dot)
difference = np.sum(x_bar * (above - below)) / (2 * h)
print(f"by differences      {difference:.6f}")

assert np.all(np.abs(x_star).sum(axis=1) <= 1 + 1e-6)
assert abs(forward - reverse) <= 1e-3 * abs(forward)
assert abs(difference - reverse) <= 1e-3 * abs(difference)
