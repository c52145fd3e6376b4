"""The full matrices of Newton's steps, factored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from cvxlpgd._kernels import kernels_of
from cvxlpgd.cones.refining import stiffness
from cvxlpgd.program import ConeProgram, Point, product, transposed_product
from cvxlpgd.solvers.refine.systems import FLAT, Run, dense

SHORT = 4  # rows of a cone up to which sums of columns are faster than matrix products
LEAST_FLAT = 1e-11  # d where a smaller one leaves a matrix singular


class Block(NamedTuple):
    """What the steps of k samples need of a run of curved cones."""

    M: np.ndarray  # (k, count, r, r), in weighted units
    # of local columns: their vectors t a (k, c, r), M t a, and 1 / (t a)'M t a (k, c)
    a: np.ndarray
    Ma: np.ndarray
    over: np.ndarray

    @classmethod
    def of(
        cls, run: Run, A: np.ndarray, t: np.ndarray, y: np.ndarray, s: np.ndarray, e: np.ndarray
    ) -> Block:
        """M = B'(C + e)⁻¹B at pairs in weighted units, for y, s and t (k, count, r)."""
        M = stiffness(run.cone, y, s, np.broadcast_to(e[:, None], y.shape[:2]))
        if not run.local.cones.size:
            none = np.zeros((len(y), 0, run.size))
            return cls(M, none, none, none[..., 0])
        a = t[:, run.local.cones] * run.local.vectors(A, run.size)
        Ma = _apply(M[:, run.local.cones], a)
        size = _dot(a, Ma)
        return cls(M, a, Ma, np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0))

    def without(self, run: Run) -> np.ndarray:
        """M - Ma (Ma)' / a'Ma: what is left of M when the local columns are eliminated."""
        if not run.local.cones.size:
            return self.M
        M, scaled = self.M.copy(), self.over[..., None] * self.Ma
        M[:, run.local.cones] -= self.Ma[..., :, None] * scaled[..., None, :]
        return M

    def take(self, places: np.ndarray) -> Block:
        """That of these samples."""
        return Block(*(_pick(v, places) for v in self))


class DenseFactors(NamedTuple):
    """Cholesky factors of k samples' matrices in the kept columns, and what their steps need."""

    program: ConeProgram
    z: Point  # where, in weighted units
    weights: np.ndarray
    e: np.ndarray
    factors: np.ndarray  # (k, n, n)
    active: np.ndarray  # 1 / e of active rows, 0 of free ones
    blocks: list[Block]  # of the curved cones

    def numbers(self, place: int) -> int:
        """How many it holds of a sample."""
        return int(self.factors[place].size) + sum(block.M[place].size for block in self.blocks)

    @classmethod
    def of(cls, program: ConeProgram, z: Point, weights: np.ndarray, e: np.ndarray) -> DenseFactors:
        """The factors at complementary z (k, ...) in weighted units, for t (k, m) and e (k,)."""
        structure, A, k = program.structure, program.data.A, len(z.x)
        layout, squares = dense(structure), weights**2
        n = len(layout.kept)
        H = np.zeros((k, n, n))
        H[:, *layout.P] = program.data.P
        active = np.where(structure.inequalities & (z.y < z.s), 0.0, 1 / e[:, None])
        blocks = []
        for run in layout.runs:
            if run.cone is None:
                M = run.split(active)[..., None]
            else:
                y, s, t = (run.split(v) for v in (z.y, z.s, weights))
                block = Block.of(run, A, t, y, s, e)
                blocks.append(block)
                M = block.without(run)
            for gram in run.grams:
                gram.add(A, M, run.split(squares)[:, :, 0], H)
        # d is in each column's own unit, and so are a Cholesky factor's errors
        diagonal = H[:, range(n), range(n)]
        H[:, range(n), range(n)] += FLAT * (e**2)[:, None] * np.where(diagonal > 0, diagonal, 1.0)
        return cls(program, z, weights, e, _factor(H), active, blocks)

    def steps(self, places: np.ndarray) -> DenseSteps:
        """The steps of samples at these places."""
        structure = self.program.structure
        kernels = None if structure.A.is_full else kernels_of(__package__)  # BLAS is faster there
        if kernels is not None:
            return kernels.Steps.of(self, places)
        layout = dense(structure)
        runs = (run for run in layout.runs if run.cone is not None)
        blocks = [
            (run, block.take(places)) for run, block in zip(runs, self.blocks, strict=True)
        ]  # fmt: skip
        factors = [self.factors[place].T for place in places]
        picked = _pick(self.weights, places), _pick(self.active, places)
        return DenseSteps(self.program.take(places), layout.kept, *picked, blocks, factors)


class DenseSteps(NamedTuple):
    """What solves for the steps of k samples."""

    program: ConeProgram
    kept: np.ndarray
    t: np.ndarray
    active: np.ndarray
    blocks: list[tuple[Run, Block]]
    factors: list[np.ndarray]

    def __call__(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(dx, dy, ds) in weighted units for f and t g."""
        A, values, t = self.program.structure.A, self.program.data.A, self.t
        moved, rests = _times(self.active, self.blocks, g), []
        local = [pair for pair in self.blocks if pair[0].local.cones.size]
        for run, block in local:
            own, cones = run.split(moved), run.local.cones
            rest = -f[:, run.local.columns] - _dot(block.a, own[:, cones])
            own[:, cones] += block.Ma * (rest * block.over)[..., None]
            rests.append(rest)
        rest = -f - transposed_product(A, values, t * moved)
        if not local:
            dx = rest
            _solve(self.factors, dx)
        else:
            rest, dx = rest[:, self.kept], np.zeros_like(f)
            _solve(self.factors, rest)
            dx[:, self.kept] = rest
        across = t * product(A, values, dx)
        for (run, block), rest in zip(local, rests, strict=True):
            own, cones = run.split(across), run.local.cones
            rest = (rest - _dot(block.Ma, own[:, cones])) * block.over
            own[:, cones] += block.a * rest[..., None]
            dx[:, run.local.columns] = rest
        across += g
        return dx, _times(self.active, self.blocks, across), -across


def _solve(factors: list[np.ndarray], right: np.ndarray) -> None:
    """Solve for right-hand sides (k, n), which are overwritten."""
    if right.shape[1]:  # all columns may be local
        for matrix, one in zip(factors, right, strict=True):
            one[:] = dpotrs(matrix, one, lower=True)[0]


def _times(active: np.ndarray, blocks: list[tuple[Run, Block]], g: np.ndarray) -> np.ndarray:
    """M g for vectors (k, m) in weighted units."""
    out = active * g
    for run, block in blocks:
        out[:, run.rows] = _apply(block.M, run.split(g)).reshape(len(g), -1)
    return out


def _apply(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrices (k, count, r, r) times vectors (k, count, r)."""
    if M.shape[-1] > SHORT:
        return np.asarray((M @ v[..., None])[..., 0])
    return sum(M[..., j] * v[..., j : j + 1] for j in range(M.shape[-1]))


def _dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The products u'v of vectors (..., r)."""
    if v.shape[-1] > SHORT:
        return np.asarray(np.sum(u * v, axis=-1))
    return sum(u[..., j] * v[..., j] for j in range(v.shape[-1]))


def _pick(v: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The samples at these places; nothing is copied where that is all of them, or the only one."""
    if len(v) == 1 or (len(places) == len(v) and (places == np.arange(len(v))).all()):
        return v
    return v[places]


def _factor(H: np.ndarray) -> np.ndarray:
    """The Cholesky factors of matrices (k, n, n), in their place; NaN where there is none."""
    n = H.shape[-1]
    diagonal = H[:, range(n), range(n)]
    for matrix, own in zip(H, diagonal, strict=True):
        if dpotrf(matrix.T, lower=True, clean=False, overwrite_a=True)[1]:
            # singular up to rounding: more of d, which only slows the steps
            matrix[:] = (
                np.tril(matrix, -1) + np.tril(matrix, -1).T + np.diag(own + LEAST_FLAT * own)
            )
            if dpotrf(matrix.T, lower=True, clean=False, overwrite_a=True)[1]:
                matrix[:] = np.nan
    return H
