"""Variables with a known point inside their domain, and affine expressions of them."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from .choices import maybe, pick
from .world import SHAPES, World, definite


def add_variable(world: World) -> cp.Variable:
    """A variable with random shape and attributes."""
    shape = pick(world.choices, SHAPES)
    square = len(shape) == 2 and shape[0] == shape[1]
    kinds = ["none", "none", "nonneg", "nonpos", "bounds"]
    if square and not world.integer:
        kinds = ["none", "symmetric", "PSD", "NSD", "diag"]
    if len(shape) == 2 and not square:
        kinds.append("sparsity")
    if world.integer:
        kinds = ["integer", "boolean", "none"] if world.variables else ["integer", "boolean"]
    kind = pick(world.choices, kinds)
    point, size = world.rng.normal(size=shape), int(np.prod(shape))
    attributes: dict = {} if kind in ("none", "bounds") else {kind: True}
    if kind in ("nonneg", "nonpos"):
        point = (np.abs(point) + 0.1) * (1 if kind == "nonneg" else -1)
    if kind in ("symmetric", "PSD", "NSD"):
        point = definite(world.rng, (), shape[0]) if kind != "symmetric" else (point + point.T) / 2
        point, size = -point if kind == "NSD" else point, shape[0] * (shape[0] + 1) // 2
    if kind == "diag":
        point, size = np.diag(np.diag(point)), shape[0]
    if kind == "sparsity":
        mask = world.rng.uniform(size=shape) < 0.6
        mask.flat[0] = True
        attributes, point, size = {kind: np.nonzero(mask)}, point * mask, int(mask.sum())
    if kind == "integer":
        point = np.rint(2 * point)
    if kind == "boolean":
        point = (point > 0).astype(float)
    point = point * world.x_scale
    if kind == "bounds":
        radius = world.x_scale * world.rng.uniform(0.5, 2.0, size=(2, *shape))
        low, high = point - radius[0], point + radius[1]
        attributes = {"bounds": [low, high]}
        if maybe(world.choices, 30):
            attributes = {"bounds": [_bound(world, low), high]}
    variable = cp.Variable(shape, name=f"x{len(world.variables)}", **attributes)
    world.add(variable, point)
    world.freedom[variable.id] = size
    world.words.append(f"{kind}{shape}")
    return variable


def _bound(world: World, low: np.ndarray) -> cp.Parameter:
    wiggle = 0.1 * world.x_scale
    return world.parameter(low.shape, lambda s: low - wiggle * world.rng.uniform(size=s))


def flat(expression: cp.Expression) -> cp.Expression:
    """As a vector."""
    return cp.vec(expression, order="F")


def affine(world: World) -> cp.Expression:
    """An affine expression of the variables, of size `world.scale`, at most 9 entries."""
    kind = pick(world.choices, list(_KINDS))
    made = _KINDS[kind](world, filled(pick(world.choices, world.variables)))
    world.words.append(kind)
    return made


def filled(x: cp.Variable) -> cp.Expression:
    """The variable, such that CVXPY evaluates it to a full array: it cannot do all with others."""
    sparse = x.attributes["diag"] or x.sparse_idx is not None
    return np.eye(x.shape[0]) @ x if sparse else x


def _factor(world: World, x: cp.Expression, shape: tuple[int, ...], scale: float) -> cp.Expression:
    """What multiplies a variable: constant if the variable's bounds hold a parameter already."""
    return world.data(shape, world.normal(scale), percent=0 if x.parameters() else 60)


def _same(world: World, x: cp.Expression) -> cp.Expression:
    return world.a_scale * x


def _shifted(world: World, x: cp.Expression) -> cp.Expression:
    return world.a_scale * x - world.data(x.shape, world.normal(world.scale))


def _mapped(world: World, x: cp.Expression) -> cp.Expression:
    rows = pick(world.choices, [2, 1, 3, 4])
    A = _factor(world, x, (rows, x.size), world.a_scale / np.sqrt(x.size))
    mapped = A @ flat(x)
    if maybe(world.choices, 60):
        mapped = mapped + world.data((rows,), world.normal(world.scale))
    return mapped


def _weighted(world: World, x: cp.Expression) -> cp.Expression:
    return cp.multiply(_factor(world, x, x.shape, world.a_scale), x)


def _summed(world: World, x: cp.Expression) -> cp.Expression:
    return _factor(world, x, (), world.a_scale / np.sqrt(x.size)) * cp.sum(x)


def _part(world: World, x: cp.Expression) -> cp.Expression:
    if not x.shape:
        return world.a_scale * x
    return world.a_scale * (x[:2] if maybe(world.choices, 50) else x[-1])


def _axis(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) < 2:
        return world.a_scale * (cp.cumsum(x) if x.shape else x)
    return world.a_scale * pick(world.choices, [cp.sum(x, axis=0), cp.sum(x, axis=1), x.T])


def _differences(world: World, x: cp.Expression) -> cp.Expression:
    return world.a_scale * (cp.diff(flat(x)) if x.size > 1 else x)


def _stacked(world: World, x: cp.Expression) -> cp.Expression:
    other = filled(pick(world.choices, world.variables))
    return world.a_scale * cp.hstack([flat(x)[:4], flat(other)[:4]])


def _product(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) < 2:
        return _mapped(world, x)
    n = x.shape[0]
    return _factor(world, x, (2, n), world.a_scale / np.sqrt(n)) @ x


def _picked(world: World, x: cp.Expression) -> cp.Expression:
    places = world.rng.integers(x.size, size=min(x.size, 3))
    return world.a_scale * flat(x)[[int(k) for k in places]]


def _diagonal(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) == 2:
        return world.a_scale * (cp.diag(x) if x.shape[0] == x.shape[1] else x)
    return world.a_scale * cp.diag(flat(x)[:3])


def _triangle(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) == 2 and x.shape[0] == x.shape[1] > 1:
        return world.a_scale * flat(cp.upper_tri(x))  # CVXPY's value of it has another shape
    return world.a_scale * (cp.vec_to_upper_tri(flat(x)[:3]) if x.size > 2 else x)


def _kronecker(world: World, x: cp.Expression) -> cp.Expression:
    if x.parameters():  # the DPP rules ask for none, not even in the variable's bounds
        return world.a_scale * x
    small = x[:2, :2] if len(x.shape) == 2 else cp.reshape(flat(x)[:2], (-1, 1), order="F")
    factor = world.normal(world.a_scale)(pick(world.choices, [(2, 1), (1, 2)]))
    return cp.kron(*pick(world.choices, [(factor, small), (small, factor)]))


def _convolved(world: World, x: cp.Expression) -> cp.Expression:
    return cp.convolve(world.normal(world.a_scale / 2)((2,)), flat(x)[:8])


def _outer(world: World, x: cp.Expression) -> cp.Expression:
    return cp.outer(_factor(world, x, (2,), world.a_scale), flat(x)[:4])


def _blocks(world: World, x: cp.Expression) -> cp.Expression:
    v = flat(x)[:2]
    made = [
        lambda: cp.bmat([[v[0], v[-1]], [v[-1], np.ones((1, 1)) * world.x_scale]]),
        lambda: cp.vstack([v, 2 * v]),
        lambda: cp.concatenate([v, -v]),
        lambda: cp.stack([v, v[::-1]], axis=1),
    ]
    return world.a_scale * pick(world.choices, made)()


def _turned(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) < 2:
        return world.a_scale * cp.broadcast_to(flat(x)[:4], (2, min(x.size, 4)))
    made = [
        lambda: cp.swapaxes(x, 0, 1),
        lambda: cp.moveaxis(x, 0, 1),
        lambda: cp.permute_dims(x, [1, 0]),
        lambda: cp.reshape(x, (x.size,), order="C"),
        lambda: cp.squeeze(x),
    ]
    return world.a_scale * pick(world.choices, made)()


def _means(world: World, x: cp.Expression) -> cp.Expression:
    if maybe(world.choices, 50):
        return cp.mean(x) * world.a_scale
    return cp.vdot(_factor(world, x, x.shape, world.a_scale), x)


def _contracted(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) < 2:
        return _means(world, x)
    return cp.einsum("ij,jk->ik", _factor(world, x, (2, x.shape[0]), world.a_scale), x)


def _partial(world: World, x: cp.Expression) -> cp.Expression:
    if len(x.shape) < 2 or min(x.shape) < 2 or x.parameters():
        return world.a_scale * x
    whole = cp.kron(np.array([[1.0, 0.5], [0.2, -1.0]]), x[:2, :2])
    if maybe(world.choices, 50):
        return world.a_scale * cp.partial_trace(whole, (2, 2), pick(world.choices, [0, 1]))
    return world.a_scale * cp.partial_transpose(whole, (2, 2), pick(world.choices, [0, 1]))[:2]


_KINDS = {
    "x": _same, "x - p": _shifted, "A x + b": _mapped, "p * x": _weighted, "p sum(x)": _summed,
    "x[i]": _part, "axis": _axis, "diff": _differences, "stack": _stacked, "L X": _product,
    "x[[i]]": _picked, "diag": _diagonal, "triangle": _triangle, "kron": _kronecker,
    "convolve": _convolved, "outer": _outer, "blocks": _blocks, "turned": _turned,
    "mean": _means, "einsum": _contracted, "partial": _partial,
}  # fmt: skip
