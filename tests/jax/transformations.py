"""JAX's transformations of a layer against the NumPy layer: `python -m tests.jax.transformations`.

Prints the table of docs/jax.md, the largest absolute differences of entries of size 1.
"""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
from tabulate import tabulate

import cvxlpgd.jax
import cvxlpgd.numpy

x, t, A, b = cp.Variable(3), cp.Variable(), cp.Parameter((2, 3)), cp.Parameter(2)
PROBLEM = cp.Problem(
    cp.Minimize(cp.sum_squares(x) + cp.sum_squares(A @ x - b) + cp.square(t - cp.sum(x))),
    [x >= -5, cp.sum(x) <= 0.5],
)
LISTS = PROBLEM, [A, b], [x, t]
SAMPLES = 3


class Case:
    """The layers, values for them, and what the NumPy layer makes of those.

    `b` has SAMPLES rows in front of its batch axes: what is to be mapped over. A is shared.
    """

    layer, judge = cvxlpgd.jax.CvxpyLayer(*LISTS), cvxlpgd.numpy.CvxpyLayer(*LISTS)

    def __init__(self, batch: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        sizes = (2, 3), (SAMPLES, *batch, 2)
        values = [jnp.asarray(rng.uniform(0.5, 1.5, size=size)) for size in sizes]
        dots = [jnp.asarray(rng.normal(size=size)) for size in sizes]
        self.bars = [jnp.asarray(rng.normal(size=(*batch, *size))) for size in ((3,), ())]
        (self.A, self.rows), (self.A_dot, self.rows_dot) = values, dots
        self.b, self.b_dot = self.rows[0], self.rows_dot[0]

    def loss(self, A, b):
        """The sum of cotangents times variables."""
        pairs = zip(self.bars, self.layer(A, b), strict=True)
        return sum(jnp.sum(bar * variable) for bar, variable in pairs)

    def tangents(self, A, b, A_dot, b_dot):
        """By the NumPy layer, in double precision."""
        values, dots = ([doubles(v) for v in pair] for pair in ((A, b), (A_dot, b_dot)))
        return self.judge.jvp(values, dots)[1]

    def gradients(self, A, b, bars=None):
        """By the NumPy layer, in double precision, of the loss with these cotangents."""
        _, pullback = self.judge.vjp(doubles(A), doubles(b))
        return pullback(*(doubles(bar) for bar in bars or self.bars))

    def each(self):
        """The gradients for each of the rows, stacked."""
        every = [self.gradients(self.A, b) for b in self.rows]
        return [np.stack(gradients) for gradients in zip(*every, strict=True)]

    def total(self):
        """The gradients of the sum of the rows' losses."""
        A_bar, b_bar = self.each()
        return [A_bar.sum(axis=0), b_bar]

    def jacobians(self):
        """The gradient of each entry of x, (3, *shape), of one sample."""
        bars = [[row, np.zeros(())] for row in np.eye(3)]
        every = [self.gradients(self.A, self.sample, bar) for bar in bars]
        return [np.stack(gradients) for gradients in zip(*every, strict=True)]

    @property
    def sample(self):
        """One sample's b."""
        return self.b.reshape(-1, 2)[0]


def doubles(value):
    return np.asarray(value, dtype=np.float64)


# Each is a function, its arguments, and what it should return.


def forward(case):
    return case.layer, (case.A, case.b), case.judge(doubles(case.A), doubles(case.b))


def grad(case):
    return jax.grad(case.loss, (0, 1)), (case.A, case.b), case.gradients(case.A, case.b)


def vjp(case):
    def pull(A, b, *bars):
        return jax.vjp(case.layer, A, b)[1](bars)

    return pull, (case.A, case.b, *case.bars), case.gradients(case.A, case.b)


def jvp(case):
    def push(A, b, A_dot, b_dot):
        return jax.jvp(case.layer, (A, b), (A_dot, b_dot))[1]

    values = case.A, case.b, case.A_dot, case.b_dot
    return push, values, case.tangents(*values)


def linearize(case):
    def push(A, b, A_dot, b_dot):
        return jax.linearize(case.layer, A, b)[1](A_dot, b_dot)

    values = case.A, case.b, case.A_dot, case.b_dot
    return push, values, case.tangents(*values)


def vmap(case):
    """The mapped axis is the last one, of what goes in and of what comes out."""
    function = jax.vmap(case.layer, in_axes=(None, -1), out_axes=-1)
    expected = case.judge(doubles(case.A), doubles(case.rows))
    values = case.A, jnp.moveaxis(case.rows, 0, -1)
    return function, values, [np.moveaxis(v, 0, -1) for v in expected]


def vmap_of_vmap(case):
    function = jax.vmap(jax.vmap(case.layer, in_axes=(None, 0)), in_axes=(0, None))
    every = jnp.stack([case.A, case.A + 0.1])
    expected = [case.judge(doubles(A), doubles(case.rows)) for A in every]
    return function, (every, case.rows), [np.stack(v) for v in zip(*expected, strict=True)]


def vmap_of_grad(case):
    function = jax.vmap(jax.grad(case.loss, (0, 1)), in_axes=(None, 0))
    return function, (case.A, case.rows), case.each()


def grad_of_vmap(case):
    def loss(A, rows):
        return jax.vmap(case.loss, in_axes=(None, 0))(A, rows).sum()

    return jax.grad(loss, (0, 1)), (case.A, case.rows), case.total()


def vmap_of_jvp(case):
    def push(b, b_dot):
        return jax.jvp(lambda b: case.layer(case.A, b), (b,), (b_dot,))[1]

    expected = case.tangents(case.A, case.rows, 0 * case.A, case.rows_dot)
    return jax.vmap(push), (case.rows, case.rows_dot), expected


def jacrev(case):
    function = jax.jacrev(lambda A, b: case.layer(A, b)[0], (0, 1))
    return function, (case.A, case.sample), case.jacobians()


def jacfwd(case):
    function = jax.jacfwd(lambda A, b: case.layer(A, b)[0], (0, 1))
    return function, (case.A, case.sample), case.jacobians()


def checkpoint(case):
    function = jax.grad(jax.checkpoint(case.loss), (0, 1))
    return function, (case.A, case.b), case.gradients(case.A, case.b)


def scan(case):
    def loss(A, rows):
        def step(carry, b):
            return carry + case.loss(A, b), None

        return jax.lax.scan(step, jnp.zeros(()), rows)[0]

    return jax.grad(loss, (0, 1)), (case.A, case.rows), case.total()


def cond(case):
    def loss(A, b):
        return jax.lax.cond(A.sum() > 0, case.loss, lambda A, b: jnp.sum(A), A, b)

    return jax.grad(loss, (0, 1)), (case.A, case.b), case.gradients(case.A, case.b)


TRANSFORMATIONS: dict[str, Callable] = {
    "a call": forward,
    "grad": grad,
    "vjp": vjp,
    "jvp": jvp,
    "linearize": linearize,
    "vmap": vmap,
    "vmap(vmap)": vmap_of_vmap,
    "vmap(grad)": vmap_of_grad,
    "grad(vmap)": grad_of_vmap,
    "vmap(jvp)": vmap_of_jvp,
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "checkpoint": checkpoint,
    "scan": scan,
    "cond": cond,
}


def error(name: str, batch: tuple[int, ...], jitted: bool) -> float:
    """The largest difference from the NumPy layer; shapes must be equal."""
    function, values, expected = TRANSFORMATIONS[name](Case(batch))
    outputs = jax.jit(function)(*values) if jitted else function(*values)
    assert [np.shape(v) for v in outputs] == [np.shape(v) for v in expected]
    pairs = zip(outputs, expected, strict=True)
    return max(float(np.max(np.abs(doubles(a) - b))) for a, b in pairs)


def table() -> str:
    rows = []
    for name in TRANSFORMATIONS:
        row = [name]
        for x64 in (False, True):
            jax.config.update("jax_enable_x64", x64)
            for batch in ((), (4,)):
                row.append(f"{max(error(name, batch, jitted) for jitted in (False, True)):.0e}")
        rows.append(row)
    heads = ["", "32 bits", "32 bits, batched", "64 bits", "64 bits, batched"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    print(table())
