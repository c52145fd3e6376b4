"""Atoms with what their arguments need, and how large they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp

from . import builds as build
from .leaves import flat
from .world import World

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
    positive, symmetric, definite : bool
        Whether the argument must be; definite with eigenvalues of at least 0.4.
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
    definite: bool = False
    polyhedral: bool = False
    cost: bool = False


ATOMS = (
    Atom("linear", 0, 1, build.cost, polyhedral=True),
    Atom("abs", 1, 1, lambda w, v: cp.sum(cp.abs(v)), polyhedral=True),
    Atom("norm1", 1, 1, lambda w, v: cp.norm1(v), polyhedral=True),
    Atom("norm2", 1, 1, lambda w, v: cp.norm(flat(v), 2)),
    Atom("norm_inf", 1, 1, lambda w, v: cp.norm_inf(v), polyhedral=True),
    Atom("sum_squares", 1, 2, lambda w, v: cp.sum_squares(v)),
    Atom("quad_form", 1, 2, build.quadratic),
    Atom("quad_form(P)", 1, 2, build.parametric, cost=True),
    Atom("huber", 1, 0, lambda w, v: cp.sum(cp.huber(v, 0.7))),
    Atom("pos", 1, 1, lambda w, v: cp.sum(cp.pos(v)), polyhedral=True),
    Atom("neg", 1, 1, lambda w, v: cp.sum(cp.neg(v)), polyhedral=True),
    Atom("max", 1, 1, lambda w, v: cp.max(v), polyhedral=True),
    Atom("min", -1, 1, lambda w, v: cp.min(v), polyhedral=True),
    Atom("maximum", 1, 1, build.maximum, polyhedral=True),
    Atom("minimum", -1, 1, build.minimum, polyhedral=True),
    Atom("sum_largest", 1, 1, build.largest, polyhedral=True),
    Atom("log", -1, 0, lambda w, v: cp.sum(cp.log(v)), positive=True),
    Atom("exp", 1, 0, lambda w, v: cp.sum(cp.exp(v))),
    Atom("entr", -1, 0, lambda w, v: cp.sum(cp.entr(v)), positive=True),
    Atom("log_sum_exp", 1, 0, lambda w, v: cp.log_sum_exp(v)),
    Atom("logistic", 1, 0, lambda w, v: cp.sum(cp.logistic(v))),
    Atom("kl_div", 1, 0, build.kl, positive=True),
    Atom("geo_mean", -1, 0, lambda w, v: cp.geo_mean(flat(v)), positive=True),
    Atom("power", 1, 0, build.power, positive=True),
    Atom("sqrt", -1, 0, lambda w, v: cp.sum(cp.sqrt(v)), positive=True),
    Atom("inv_pos", 1, 0, lambda w, v: cp.sum(cp.inv_pos(v)), positive=True),
    Atom("pnorm 3", 1, 1, lambda w, v: cp.pnorm(flat(v), 3)),
    Atom("pnorm 1.5", 1, 1, lambda w, v: cp.pnorm(flat(v), 1.5)),
    Atom("quad_over_lin", 1, 0, build.over),
    Atom("matrix_frac", 1, 2, build.fraction),
    Atom("norm_fro", 1, 1, lambda w, v: cp.norm(build.matrix(v), "fro")),
    Atom("norm_nuc", 1, 1, lambda w, v: cp.normNuc(build.matrix(v))),
    Atom("sigma_max", 1, 1, lambda w, v: cp.sigma_max(build.matrix(v))),
    Atom("lambda_max", 1, 1, lambda w, v: cp.lambda_max(v), symmetric=True),
    Atom("lambda_min", -1, 1, lambda w, v: cp.lambda_min(v), symmetric=True),
    Atom("trace", 0, 1, lambda w, v: cp.trace(v), symmetric=True, polyhedral=True),
    Atom("cummax", 1, 1, lambda w, v: cp.sum(cp.cummax(build.column(v))), polyhedral=True),
    Atom("ptp", 1, 1, lambda w, v: cp.ptp(v), polyhedral=True),
    Atom("dotsort", 1, 1, build.dotsort, polyhedral=True),
    Atom("cvar", 1, 1, lambda w, v: cp.cvar(flat(v), 0.6), polyhedral=True),
    Atom("scalene", 1, 1, lambda w, v: cp.sum(cp.scalene(v, 0.5, 2.0)), polyhedral=True),
    Atom("sum_smallest", -1, 1, build.smallest, polyhedral=True),
    Atom(
        "max of rows", 1, 1, lambda w, v: cp.sum(cp.max(build.matrix(v), axis=1)), polyhedral=True
    ),
    Atom("logic", 0, 1, build.logic, polyhedral=True, cost=True),
    Atom("tv", 1, 1, lambda w, v: cp.tv(v) if v.size > 1 else cp.abs(cp.sum(v))),
    Atom("mixed_norm", 1, 1, lambda w, v: cp.mixed_norm(build.matrix(v), 2, 1)),
    Atom("norms of columns", 1, 1, lambda w, v: cp.max(cp.norm(build.matrix(v), 2, axis=0))),
    Atom("std", 1, 1, lambda w, v: cp.std(v)),
    Atom("var", 1, 2, lambda w, v: cp.var(v)),
    Atom("square", 1, 2, lambda w, v: cp.sum(cp.square(v))),
    Atom("sum_squares of rows", 1, 2, build.row_squares),
    Atom("harmonic_mean", -1, 0, lambda w, v: cp.harmonic_mean(flat(v)), positive=True),
    Atom("inv_prod", 1, 0, lambda w, v: cp.inv_prod(flat(v)[:3]), positive=True),
    Atom("log1p", -1, 0, lambda w, v: cp.sum(cp.log1p(v)), positive=True),
    Atom("rel_entr", 1, 0, build.relative_entropy, positive=True),
    Atom("xexp", 1, 0, lambda w, v: cp.sum(cp.xexp(cp.pos(v)))),
    Atom("log_normcdf", -1, 0, lambda w, v: cp.sum(cp.log_normcdf(v))),
    Atom("loggamma", 1, 0, lambda w, v: cp.sum(cp.loggamma(v)), positive=True),
    Atom("power, exactly", 1, 0, build.exact_power, positive=True),
    Atom("pnorm 3, exactly", 1, 1, lambda w, v: cp.pnorm(flat(v), 3, approx=False)),
    Atom("geo_mean, exactly", -1, 0, build.exact_mean, positive=True),
    Atom("matrix_frac of both", 1, 0, build.joint_fraction, definite=True),
    Atom("log_det", -1, 0, lambda w, v: cp.log_det(v), definite=True),
    Atom("tr_inv", 1, 0, lambda w, v: cp.tr_inv(v), definite=True),
    Atom("lambda_sum_largest", 1, 1, build.eigen_largest, symmetric=True),
    Atom("lambda_sum_smallest", -1, 1, build.eigen_smallest, symmetric=True),
    Atom("von_neumann_entr", -1, 0, lambda w, v: cp.von_neumann_entr(v), definite=True),
    Atom("perspective", 1, 0, build.perspective, cost=True),
    Atom("support function", 1, 1, build.support),
    Atom("indicator", 1, 1, build.indicator, polyhedral=True, cost=True),
)
POLYHEDRAL = tuple(atom for atom in ATOMS if atom.polyhedral)


def argument_of(world: World, atom: Atom, argument: cp.Expression) -> cp.Expression:
    """An affine expression made fit for the atom."""
    if atom.degree == 0:
        argument = argument / world.scale
    if atom.positive:
        argument = build.positive(world, argument)
    if atom.definite:
        return build.positive_definite(world, argument)
    return build.symmetric(world, argument) if atom.symmetric else argument
