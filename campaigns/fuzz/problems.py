"""Random problems, feasible and bounded by design, or infeasible or unbounded by design."""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from .atoms import ATOMS, POLYHEDRAL, Atom, argument_of
from .builds import symmetric
from .choices import Choices, Recorded, Replayed, maybe, pick
from .leaves import add_variable, affine, flat
from .world import World


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and values of its parameters.

    Parameters
    ----------
    problem : cp.Problem
    world : World
        Its parameters, values (*batch axes, *shape), variables, batch and scales.
    expected : "solved", "infeasible" or "unbounded"
    strict : bool
        Whether the objective is strictly convex in the variables.
    empty : bool
        Whether the batch is to be cut to no samples.
    """

    problem: cp.Problem
    world: World
    expected: str
    strict: bool
    empty: bool

    @property
    def plain(self) -> bool:
        """Whether all data are of size 1."""
        w = self.world
        return w.x_scale == w.a_scale == w.f_scale == 1.0

    def __repr__(self) -> str:
        w = self.world
        return (
            f"{self.problem}\n  batch {w.batch}, scales {w.x_scale:g} {w.a_scale:g} {w.f_scale:g}, "
            f"{self.expected}, variables {w.variables}, parameters "
            f"{[(p.name(), v.shape) for p, v in zip(w.parameters, w.values, strict=True)]}"
        )


def pair(choices: Choices) -> tuple[Case, Case]:
    """A random problem, and the same one in units in which all of its data are of size 1.

    The optimal value is `f_scale` times that of the second one, variables `x_scale` times its
    variables. The second one is what a solver is most accurate on.
    """
    recorded = Recorded(choices)
    return problem(recorded), problem(Replayed(recorded.made), unit=True)


def problem(choices: Choices, unit: bool = False) -> Case:
    """A random problem; with `unit` all scales are 1."""
    world = World.new(choices, unit)
    for _ in range(pick(choices, [1, 2, 3])):
        add_variable(world)
    strict = not world.integer and maybe(choices, 60)
    cost = sum((_term(world) for _ in range(pick(choices, [1, 2, 3]))), cp.Constant(0.0))
    if strict:
        cost = cost + sum(_ridge(world, x) for x in world.variables)
    constraints = [c for x in world.variables for c in _around(world, x)]
    cost = cost + sum(_use(world, x) for x in world.variables)
    for _ in range(choices.below(4)):
        constraints += _constraint(world)
    expected = pick(choices, ["solved"] * 20 + ["infeasible", "unbounded"])
    if expected == "infeasible":
        constraints.append(_impossible(world))
    if expected == "unbounded":
        free = cp.Variable(name="free")
        cost = cost + world.f_scale * free
        world.add(free, np.zeros(()))
        strict = False
    maximized = maybe(choices, 40)
    objective = cp.Maximize(-cost) if maximized else cp.Minimize(cost)
    world.closed()
    empty = maybe(choices, 4) and bool(world.batch) and expected == "solved"
    return Case(cp.Problem(objective, constraints), world, expected, strict, empty)


def _atom(world: World, cost: bool) -> tuple[Atom, cp.Expression]:
    """An atom and its value for a random argument."""
    atom = pick(world.choices, POLYHEDRAL if world.integer else ATOMS)
    if atom.cost and not cost:
        atom = ATOMS[0]
    world.words.append(atom.name)
    return atom, atom.build(world, argument_of(world, atom, affine(world)))


def _term(world: World) -> cp.Expression:
    """A convex term of the size of the objective."""
    atom, value = _atom(world, cost=True)
    sign = -1.0 if atom.curvature < 0 else 1.0
    size = world.f_scale / world.scale**atom.degree
    if not value.parameters() and maybe(world.choices, 40):
        weight = world.parameter((), world.uniform(0.5 * size, 2 * size), nonneg=True)
        return sign * weight * value
    return sign * size * world.rng.uniform(0.5, 2.0) * value


def _ridge(world: World, x: cp.Variable) -> cp.Expression:
    target = world.data(x.shape, world.normal(world.x_scale))
    return world.f_scale / world.x_scale**2 * cp.sum_squares(x - target)


def _use(world: World, x: cp.Variable) -> cp.Expression:
    """So that every variable is in the problem."""
    return 0.1 * world.f_scale / world.x_scale * cp.sum(x)


def _around(world: World, x: cp.Variable) -> list[cp.Constraint]:
    """A box or a ball that holds the known point."""
    if x.attributes["bounds"] is not None or x.attributes["boolean"]:
        return []
    kind = pick(world.choices, ["box"] if world.integer else ["box", "ball", "one-sided box"])
    size, point = world.x_scale, world.point(x)
    if kind == "ball":
        radius = world.data((), world.uniform(1.5 * size, 3 * size))
        center = point + 0.3 * size * world.rng.normal(size=x.shape) / np.sqrt(x.size)
        return [cp.norm(flat(x) - center.ravel(order="F"), 2) <= radius]
    if kind == "one-sided box":
        return [cp.norm_inf(x) <= 3 * size + np.abs(point).max()]
    high = world.data(x.shape, lambda s: point + size * world.rng.uniform(1.0, 3.0, size=s))
    low = world.data(x.shape, lambda s: point - size * world.rng.uniform(1.0, 3.0, size=s))
    return [x <= high, low <= x]


def _constraint(world: World) -> list[cp.Constraint]:
    """A constraint with the known point inside."""
    kinds = ["level", "linear", "equality", "SOC", "PSD", "exp", "pow"]
    kind = pick(world.choices, kinds[:3] if world.integer else kinds)
    margin = world.scale * pick(world.choices, [0.5, 0.1, 1.0])
    if kind == "level":
        return [_level(world)]
    v = affine(world)
    if kind == "linear":
        return [v <= world.level(v, margin)]
    if kind == "equality":
        return _equality(world, v)
    if kind == "SOC":
        v = flat(v)
        return [cp.SOC(world.level(cp.norm(v, 2), margin), v)]
    if kind == "PSD":
        S = symmetric(world, v)
        return [S << world.level(cp.lambda_max(S), margin) * np.eye(S.shape[0])]
    u = flat(v)[0] / world.scale
    if kind == "exp":  # exp(u) <= r
        return [cp.ExpCone(u, cp.Constant(1.0), world.level(cp.exp(u), 0.5))]
    size = world.level(cp.power(cp.abs(u), 2.0), 0.5)  # |u| <= size^0.5
    return [cp.PowCone3D(size, cp.Constant(1.0), u, 0.5)]


def _level(world: World) -> cp.Constraint:
    atom, value = _atom(world, cost=False)
    margin = world.scale**atom.degree * pick(world.choices, [0.5, 0.1, 1.0])
    if atom.curvature < 0:
        return value >= world.level(value, -margin)
    return value <= world.level(value, margin)


def _equality(world: World, v: cp.Expression) -> list[cp.Constraint]:
    """Equal to the value at the known point, where enough freedom is left."""
    variables = v.variables()
    if any(v.size > world.freedom[x.id] / 2 for x in variables):
        return [v <= world.level(v, world.scale)]
    for x in variables:
        world.freedom[x.id] -= v.size
    made = v == world.level(v, 0.0, exact=True)
    return [made, made.args[0] == made.args[1]] if maybe(world.choices, 10) else [made]


def _impossible(world: World) -> cp.Constraint:
    """A sum larger than any box or ball allows."""
    x, point = world.variables[0], world.points[0]
    size = 20 * world.x_scale + np.abs(point).max()
    return cp.sum(x) >= world.data((), world.uniform(x.size * size, 2 * x.size * size))
