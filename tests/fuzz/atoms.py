"""Atoms with what their arguments need, and how large they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from .choices import pick
from .leaves import flat
from .world import World, definite

Build = Callable[[World, cp.Expression], cp.Expression]


@dataclass(frozen=True)
class Atom:
    """A scalar function.

    Parameters
    ----------
    name : str
    curvature : int
        1 convex, -1 concave, 0 affine.
    degree : int
        Its size is the argument's to this power; with 0 the argument is divided by its size first.
    positive, symmetric : bool
        Whether the argument must be.
    polyhedral : bool
        Whether linear constraints express it.
    cost : bool
        Whether the DPP rules allow it in an objective only.
    """

    name: str
    curvature: int
    degree: int
    build: Build
    positive: bool = False
    symmetric: bool = False
    polyhedral: bool = False
    cost: bool = False


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


def _cost(world: World, v: cp.Expression) -> cp.Expression:
    fixed = bool(v.parameters())
    c = world.data((v.size,), world.normal(), percent=0 if fixed else 80)
    return c @ flat(v)


def _quadratic(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return cp.sum_squares(v)  # the DPP rules ask for a constant map here
    return cp.quad_form(flat(v), cp.psd_wrap(definite(world.rng, (), v.size)))


def _parametric(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return _quadratic(world, v)
    n = v.size
    P = world.parameter((n, n), lambda shape: definite(world.rng, shape[:-2], n), PSD=True)
    return cp.quad_form(flat(v), P)


def _fraction(world: World, v: cp.Expression) -> cp.Expression:
    if v.parameters():
        return cp.sum_squares(v)
    return cp.matrix_frac(flat(v), definite(world.rng, (), v.size))


def _over(world: World, v: cp.Expression) -> cp.Expression:
    if v.size < 2 or v.parameters():  # the DPP rules ask for a constant map here
        return cp.sum_squares(v)
    return cp.quad_over_lin(flat(v)[:-1], positive(world, flat(v)[-1]))


def _maximum(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.maximum(v, world.data(v.shape, world.normal(world.scale))))


def _minimum(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.minimum(v, world.data(v.shape, world.normal(world.scale))))


def _largest(world: World, v: cp.Expression) -> cp.Expression:
    # CVXPY fails on all of a vector, and on matrices, once variables have values
    return cp.sum_largest(flat(v), 2) if v.size > 2 else cp.max(v)


def _kl(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.kl_div(v, world.data(v.shape, world.uniform(0.5, 2.0))))


def _power(world: World, v: cp.Expression) -> cp.Expression:
    return cp.sum(cp.power(v, pick(world.choices, [2, 1.5, 3, -1])))


def _matrix(v: cp.Expression) -> cp.Expression:
    return v if len(v.shape) == 2 else cp.reshape(v, (v.size, 1), order="F")


ATOMS = (
    Atom("linear", 0, 1, _cost, polyhedral=True),
    Atom("abs", 1, 1, lambda w, v: cp.sum(cp.abs(v)), polyhedral=True),
    Atom("norm1", 1, 1, lambda w, v: cp.norm1(v), polyhedral=True),
    Atom("norm2", 1, 1, lambda w, v: cp.norm(flat(v), 2)),
    Atom("norm_inf", 1, 1, lambda w, v: cp.norm_inf(v), polyhedral=True),
    Atom("sum_squares", 1, 2, lambda w, v: cp.sum_squares(v)),
    Atom("quad_form", 1, 2, _quadratic),
    Atom("quad_form(P)", 1, 2, _parametric, cost=True),
    Atom("huber", 1, 0, lambda w, v: cp.sum(cp.huber(v, 0.7))),
    Atom("pos", 1, 1, lambda w, v: cp.sum(cp.pos(v)), polyhedral=True),
    Atom("neg", 1, 1, lambda w, v: cp.sum(cp.neg(v)), polyhedral=True),
    Atom("max", 1, 1, lambda w, v: cp.max(v), polyhedral=True),
    Atom("min", -1, 1, lambda w, v: cp.min(v), polyhedral=True),
    Atom("maximum", 1, 1, _maximum, polyhedral=True),
    Atom("minimum", -1, 1, _minimum, polyhedral=True),
    Atom("sum_largest", 1, 1, _largest, polyhedral=True),
    Atom("log", -1, 0, lambda w, v: cp.sum(cp.log(v)), positive=True),
    Atom("exp", 1, 0, lambda w, v: cp.sum(cp.exp(v))),
    Atom("entr", -1, 0, lambda w, v: cp.sum(cp.entr(v)), positive=True),
    Atom("log_sum_exp", 1, 0, lambda w, v: cp.log_sum_exp(v)),
    Atom("logistic", 1, 0, lambda w, v: cp.sum(cp.logistic(v))),
    Atom("kl_div", 1, 0, _kl, positive=True),
    Atom("geo_mean", -1, 0, lambda w, v: cp.geo_mean(flat(v)), positive=True),
    Atom("power", 1, 0, _power, positive=True),
    Atom("sqrt", -1, 0, lambda w, v: cp.sum(cp.sqrt(v)), positive=True),
    Atom("inv_pos", 1, 0, lambda w, v: cp.sum(cp.inv_pos(v)), positive=True),
    Atom("pnorm 3", 1, 1, lambda w, v: cp.pnorm(flat(v), 3)),
    Atom("pnorm 1.5", 1, 1, lambda w, v: cp.pnorm(flat(v), 1.5)),
    Atom("quad_over_lin", 1, 0, _over),
    Atom("matrix_frac", 1, 2, _fraction),
    Atom("norm_fro", 1, 1, lambda w, v: cp.norm(_matrix(v), "fro")),
    Atom("norm_nuc", 1, 1, lambda w, v: cp.normNuc(_matrix(v))),
    Atom("sigma_max", 1, 1, lambda w, v: cp.sigma_max(_matrix(v))),
    Atom("lambda_max", 1, 1, lambda w, v: cp.lambda_max(v), symmetric=True),
    Atom("lambda_min", -1, 1, lambda w, v: cp.lambda_min(v), symmetric=True),
    Atom("trace", 0, 1, lambda w, v: cp.trace(v), symmetric=True, polyhedral=True),
)
POLYHEDRAL = tuple(atom for atom in ATOMS if atom.polyhedral)


def argument_of(world: World, atom: Atom, argument: cp.Expression) -> cp.Expression:
    """An affine expression made fit for the atom."""
    if atom.degree == 0:
        argument = argument / world.scale
    if atom.positive:
        argument = positive(world, argument)
    return symmetric(world, argument) if atom.symmetric else argument
