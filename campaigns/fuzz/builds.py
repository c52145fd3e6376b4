"""How atoms are made of an argument, where that is more than a call."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from .choices import pick
from .leaves import flat
from .world import World, definite


def positive(world: World, argument: cp.Expression) -> cp.Expression:
    """The argument, shifted such that its entries are at least 0.4 at the known point."""
    least = float(world.evaluated(argument).min(initial=1.0))
    return argument + max(0.0, 0.4 - least)


def symmetric(world: World, argument: cp.Expression) -> cp.Expression:
    """A symmetric matrix made of the argument."""
    if len(argument.shape) == 2 and argument.shape[0] == argument.shape[1]:
        return (argument + argument.T) / 2
    k = 2 if argument.size < 6 else 3
    basis = world.rng.normal(size=(k, k, argument.size)) / np.sqrt(argument.size)
    basis = (basis + np.swapaxes(basis, 0, 1)) / 2
    mapped = basis.reshape(k * k, argument.size) @ flat(argument)
    square = cp.reshape(mapped, (k, k), order="F")
    return (square + square.T) / 2


def positive_definite(world: World, argument: cp.Expression) -> cp.Expression:
    """A symmetric matrix with eigenvalues of at least 0.4 at the known point."""
    square = symmetric(world, argument)
    least = float(np.linalg.eigvalsh(world.evaluated(square)).min())
    return cp.symmetric_wrap(square + max(0.0, 0.4 - least) * np.eye(square.shape[0]))


def cost(world: World, v: cp.Expression) -> cp.Expression:
    fixed = bool(v.parameters())
    c = world.data((v.size,), world.normal(), percent=0 if fixed else 80)
    return c @ flat(v)


def quadratic(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return cp.sum_squares(v)  # the DPP rules ask for a constant map here
    return cp.quad_form(flat(v), cp.psd_wrap(definite(world.rng, (), v.size)))


def parametric(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return quadratic(world, v)
    n = v.size
    P = world.parameter((n, n), lambda shape: definite(world.rng, shape[:-2], n), PSD=True)
    return cp.quad_form(flat(v), P)


def fraction(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return cp.sum_squares(v)
    return cp.matrix_frac(flat(v), definite(world.rng, (), v.size))


def over(world: World, v: cp.Expression) -> cp.Expression:
    if v.size < 2 or v.parameters():  # the DPP rules ask for a constant map here
        return cp.sum_squares(v)
    return cp.quad_over_lin(flat(v)[:-1], positive(world, flat(v)[-1]))


def maximum(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.maximum(v, world.data(v.shape, world.normal(world.scale))))


def minimum(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.minimum(v, world.data(v.shape, world.normal(world.scale))))


def largest(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum_largest(v, 2) if v.size > 1 else cp.max(v)


def kl(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.kl_div(v, world.data(v.shape, world.uniform(0.5, 2.0))))


def power(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.power(v, pick(world.choices, [2, 1.5, 3, -1])))


def column(v: cp.Expression) -> cp.Expression:
    """As a matrix of one column."""
    return cp.reshape(v, (v.size, 1), order="F")


def matrix(v: cp.Expression) -> cp.Expression:
    return v if len(v.shape) == 2 else column(v)


def dotsort(world: World, v: cp.Expression) -> cp.Expression:
    return cp.dotsort(flat(v), np.sort(world.rng.normal(size=min(v.size, 3))))


def smallest(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum_smallest(v, 2) if v.size > 1 else cp.min(v)


def row_squares(world: World, v: cp.Expression) -> cp.Expression:
    squares = [cp.sum_squares(row) for row in matrix(v)]
    return cp.max(cp.hstack(squares))


def eigen_largest(world: World, v: cp.Expression) -> cp.Expression:
    return cp.lambda_sum_largest(v, min(2, v.shape[0]))


def eigen_smallest(world: World, v: cp.Expression) -> cp.Expression:
    return cp.lambda_sum_smallest(v, min(2, v.shape[0]))


def relative_entropy(world: World, v: cp.Expression) -> cp.Expression:
    other = world.data(v.shape, world.uniform(0.5, 2.0))
    return cp.sum(cp.rel_entr(*pick(world.choices, [(v, other), (other, v)])))


def exact_power(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.power(v, pick(world.choices, [1.5, 3, -1, 2.7]), approx=False))


def exact_mean(world: World, v: cp.Expression) -> cp.Expression:
    weights = world.rng.uniform(0.5, 2.0, size=min(v.size, 2))
    return cp.geo_mean(flat(v)[:2], weights, approx=False)


def joint_fraction(world: World, v: cp.Expression) -> cp.Expression:
    return cp.matrix_frac(world.normal()((v.shape[0],)) + v[:, 0], v)


def perspective(world: World, v: cp.Expression) -> cp.Expression:
    """Of a function of one of the argument's variables x: s f(x / s), where s is a new variable."""
    x = flat(v.variables()[0])
    if v.variables()[0].attributes["bounds"] is not None:
        return cp.sum_squares(v)  # refused: CVXPY takes the bounds for those of x / s
    s = cp.Variable(nonneg=True, name=f"x{len(world.variables)}")
    world.add(s, world.x_scale * world.rng.uniform(0.5, 2.0))
    world.freedom[s.id] = 1
    y = world.normal()((2, x.size)) @ x
    functions = [cp.sum_squares(y), cp.sum(cp.exp(y)), cp.norm1(y), cp.log_sum_exp(y)]
    return cp.perspective(pick(world.choices, functions), s) / world.x_scale + 0.1 * cp.sum(v)


def support(world: World, v: cp.Expression) -> cp.Expression:
    """Of a ball, or of a simplex; CVXPY does not see the argument's parameters."""
    point = cp.Variable(v.size)
    sets = [[cp.norm(point, 2) <= 1.5], [point >= -0.5, cp.sum(point) <= 1]]
    seen = sum((0 * cp.sum(p) for p in v.parameters()), cp.Constant(0.0))
    return cp.suppfunc(point, pick(world.choices, sets))(flat(v)) + seen


def logic(world: World, v: cp.Expression) -> cp.Expression:
    """Of the boolean variables, if there are any."""
    found = [x for x in world.variables if x.attributes["boolean"]]
    if not found:
        return cost(world, v)
    x = found[0]
    others = [y for y in found[1:] if y.shape == x.shape] or [cp.logic.Not(x)]
    kinds = cp.logic.And, cp.logic.Or, cp.logic.Xor
    made = [weight * kind(x, others[0]) for weight, kind in zip((1, -2, 3), kinds, strict=True)]
    return world.scale * cp.sum(sum(made)) + cp.sum(v)


def indicator(world: World, v: cp.Expression) -> cp.Expression:
    """Of a level set that holds the known point."""
    return cp.transforms.indicator([v <= world.level(v, world.scale)]) + cp.norm1(v)
