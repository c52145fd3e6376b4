"""
A solver of tensors, written in 30 lines
========================================

Most solvers take one program at a time and work on the CPU. On a GPU a simple method for the whole
batch may be better. This script writes one for quadratic programs in torch: the alternating
direction method of multipliers. A layer takes it like any other, and judges what it returns.

**What to see.** On the left the residuals of 64 programs over the iterations: the solver has no
test of its own for when to stop, and the layer still says which samples are solved, and which are
inaccurate. On the right what it is for: noisy steps, denoised by total variation, the weight of
which the layer's gradients have found. Nothing in it is for one kind of device; it ran on a CPU.
"""

import warnings
from dataclasses import dataclass, replace

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxlpgd import LPGD
from cvxlpgd.cones import NonNeg, Zero
from cvxlpgd.errors import InaccurateSolutionWarning
from cvxlpgd.program import Point
from cvxlpgd.solution import Solution, Status
from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)

# %%
# The solver is a value with what it declares. It gets a batch of ½x'Px + q'x with Ax + s = b, and
# repeats: minimize over x, project s on the cones, add up what is left.


@dataclass(frozen=True)
class Splitting:
    iterations: int = 500
    name, requires, accuracy = "SPLITTING", ("torch",), 1e-8
    cones, quadratic, integer, arrays = frozenset({Zero, NonNeg}), True, False, "torch"

    def with_options(self, options):
        return replace(self, **options)

    def solve(self, program, start=None):
        structure, w, batch = program.structure, program.data, program.batch
        P, A = dense(structure.P, w.P), dense(structure.A, w.A)
        inverse = torch.linalg.inv(P + A.mT @ A)
        x, y, s = (w.q.new_zeros(batch, k) for k in (structure.n, structure.m, structure.m))
        for _ in range(self.iterations):
            x = times(inverse, times(A.mT, w.b - s - y) - w.q)
            rest = w.b - times(A, x)
            parts = [cone.project(v).reshape(batch, -1) for cone, _, v in structure.split(rest - y)]
            s = torch.cat(parts, 1)
            y = y + s - rest
        status, count = np.full(batch, Status.SOLVED, dtype=object), np.full(batch, np.nan)
        return Solution(Point(x, y, s), status, count, 0 * count, ("",) * batch)


def dense(pattern, values):
    matrix = values.new_zeros(len(values), *pattern.shape)
    matrix[:, pattern.rows, pattern.cols] = values
    return matrix


def times(matrix, vectors):
    return (matrix @ vectors[..., None])[..., 0]


# %%
# Signals of 32 points with two or three levels, and noise.

BATCH, N = 64, 32
random = np.random.default_rng(0)
jumps = random.normal(size=(BATCH, N)) * (random.uniform(size=(BATCH, N)) < 0.08)
clean = torch.tensor(jumps.cumsum(axis=1))
noisy = clean + 0.3 * torch.tensor(random.normal(size=(BATCH, N)))

x, signal, weight = cp.Variable(N), cp.Parameter(N), cp.Parameter(nonneg=True)
cost = cp.sum_squares(x - signal) / 2 + weight * cp.norm1(cp.diff(x))
problem, options = cp.Problem(cp.Minimize(cost)), {"derivative": LPGD(tau=1e-2), "single": True}
layer = CvxpyLayer(problem, [signal, weight], [x], Splitting(), **options)

# %%
# The residuals after so many iterations, as the layer measures them.

counts, residuals = [30, 60, 125, 250, 500], []
for count in counts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InaccurateSolutionWarning)
        layer(noisy, 0.5, solver_args={"iterations": count})
    info = layer.info
    residuals.append(np.maximum.reduce([info.primal_residual, info.dual_residual, info.gap]))
    print(f"{count:5} iterations: {(info.status == 'solved').mean():4.0%} of the samples solved")

# %%
# The weight learns from 16 signals whose clean ones are known; the others show what it has learned.

optimizer = torch.optim.Adam([log_weight := torch.tensor(-2.0, requires_grad=True)], lr=0.4)
for _ in range(10):
    optimizer.zero_grad()
    (layer(noisy[:16], log_weight.exp()) - clean[:16]).square().mean().backward()
    optimizer.step()
denoised = layer(noisy[16:], log_weight.detach().exp())
before, after = ((v - clean[16:]).square().mean().item() for v in (noisy[16:], denoised))
print(f"weight {log_weight.exp().item():.2f}; error of new signals {before:.3f} -> {after:.3f}")

_, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.0))
for level, style in ((100, ":"), (50, "-"), (0, ":")):
    left.semilogy(counts, np.percentile(residuals, level, axis=1), style, color="C0")
left.axhline(100 * Splitting.accuracy, color="0.4", ls="--")  # samples count as solved below
left.set(title="residual: worst, median, best sample", xlabel="iterations")
for values, style, label in ((noisy[16], ".", "noisy"), (clean[16], "-", "clean")):
    right.plot(values, style, color="0.5", label=label)
right.plot(denoised[0], color="C1", label="denoised")
right.set(title="a new signal", xlabel="position")
right.legend()
plt.show()
