r"""Electrical impedance tomography of a disk by unrolled schemes, with and without momentum.

Sixteen electrodes on the edge of a disk take turns in driving a current and reading 208 voltages
(examples/unrolled/impedance.py); the image sought has the conductivities of 704 triangles. Disks
have two or four inclusions; their voltages come from another mesh of four times as many triangles,
with 1 % noise (examples/unrolled/eit_data.py). The figure is the mean squared error of conductivity
on 100 disks. The methods (examples/unrolled/methods.py) are

    lpgd, lpgd_ma, lpgd_rma    learned proximal gradient descent: plain, with a moving average,
                               with recurrent momentum (Zhou et al., Inverse Problems 2024)
    lpd, lpd_ma, lpd_rma       learned primal-dual, alike
    lpgd_wide, lpd_wide        plain, with as many parameters as the recurrent ones, which takes
                               four times as long

and, without training,

    gauss_newton               regularized Gauss-Newton steps (examples/unrolled/gauss_newton.py)

All others begin at the image of gauss_newton, which they must improve on. They share the step, the
batches, the clipping and the choice of weights by validation. An epoch is 400 disks, a smaller
training set repeated, so that all trainings have as many steps; a larger one is seen once in an
epoch.

Convolutions run along the triangles in their order (examples/unrolled/mesh.py): ring by ring, where
consecutive triangles share an edge.

The whole table, an hour and a half of one core; a run that a file has is not repeated:

    M=gauss_newton,lpgd,lpgd_ma,lpgd_rma,lpd,lpd_ma,lpd_rma
    python -m examples.unrolled.eit --methods $M --seeds 3 --data FOLDER --json eit.json
    python -m examples.unrolled.eit --methods lpgd_wide,lpd_wide --inclusions 4 --train 400 \
        --seeds 3 --data FOLDER --json eit.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.unrolled import eit_sets
from examples.unrolled.eit_data import COARSE, KINDS, Forward
from examples.unrolled.experiment import Case, Experiment, arguments, main
from examples.unrolled.mesh import disk
from examples.unrolled.methods import TRAINED, Problem
from examples.unrolled.samples import Sets
from examples.unrolled.training import SHOWN, Run

EPOCH, DISKS = 400, 10_000  # of an epoch at least, and of a training set at most
EPOCHS, BATCH = 10, 4
QUICK = {
    "methods": "gauss_newton,lpgd,lpgd_ma,lpgd_rma", "inclusions": [2], "train": [50], "epochs": 3
}  # fmt: skip
ITERATIONS = {"lpgd": 5, "lpd": 5}  # the start is good: twice as many gain nothing
SCALED = 16  # disks that give steps and scales, the same for all sizes of the training set
GRADIENT = 0.1  # its root mean square at the starts: about that of their own errors
LEAST, MOST = 0.2, 2.2  # conductivities at the ends of the colour scale


@cache
def samples(inclusions: int, n_train: int, folder: Path | None) -> Sets:
    """The largest sets of a command, the start of which does not depend on n_train."""
    counts = {**eit_sets.COUNTS, "train": max(n_train, eit_sets.CHOICE)}
    return eit_sets.sets(inclusions, counts, folder)


def made(case: Case, options: argparse.Namespace) -> tuple[Problem, Sets]:
    """The problem of a case, and its samples."""
    sets = samples(case["inclusions"], max(options.train), options.data)
    rows = torch.arange(max(EPOCH, case["n_train"])) % case["n_train"]
    operator = Forward()
    problem = Problem.of(operator, sets.train[:SCALED], prox=None, iterations=ITERATIONS)
    problem = replace(problem, scale=GRADIENT * problem.scale)
    return problem, Sets(sets.train[rows], sets.validation, sets.test)


def gauss_newton(problem: Problem, sets: Sets) -> Run:
    """The start of all others."""
    errors = {
        name: float((part.start - part.truth).square().mean())
        for name, part in (("test_mse", sets.test), ("validation_mse", sets.validation))
    }
    return {"parameters": 0, **errors, "estimates": sets.test[:SHOWN].start.tolist()}


def draw(figure: Any, images: Mapping[str, np.ndarray]) -> None:
    """A column for the truth and for each method, a row for each disk, one scale of colours."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.patches import Circle
    from matplotlib.tri import Triangulation

    mesh = disk(*COARSE)
    triangles = Triangulation(*mesh.p, mesh.t.T)
    norm = TwoSlopeNorm(1.0, LEAST, MOST)
    panels = figure.subplots(SHOWN, len(images), squeeze=False)
    for column, (name, values) in zip(panels.T, images.items(), strict=True):
        column[0].set_title(name, fontsize="small")
        for panel, image in zip(column, values, strict=True):
            drawn = panel.tripcolor(triangles, facecolors=image, norm=norm, cmap="RdBu_r")
            panel.add_patch(Circle((0, 0), 1, fill=False, ec="0.6", lw=0.5))
            panel.set_aspect("equal")
            panel.axis("off")
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, ticks=[0.3, 0.5, 1.0, 1.5, 2.0])
    bar.set_label("conductivity")


def cases(options: argparse.Namespace) -> list[Case]:
    """Both kinds of disks with every number of training disks."""
    pairs = product(options.inclusions, options.train)
    return [{"inclusions": count, "n_train": n} for count, n in pairs]


EXPERIMENT = Experiment(
    "Electrical impedance tomography",
    "n_train",
    cases,
    made,
    {"gauss_newton": gauss_newton},
    draw,
    [name for name in TRAINED if name != "prox"],
)


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    words = arguments(__doc__ or "", "eit", EXPERIMENT, EPOCHS, QUICK)
    words.set_defaults(batch=BATCH)
    words.add_argument(
        "--inclusions", type=int, nargs="+", choices=list(KINDS), default=list(KINDS),
        help="how many a disk has (default: 2 4)",
    )  # fmt: skip
    words.add_argument(
        "--train", type=int, nargs="+", choices=range(1, DISKS + 1), default=[50, 200, 400],
        metavar="COUNT", help=f"training disks, at most {DISKS} (default: 50 200 400)",
    )  # fmt: skip
    words.add_argument(
        "--data", type=Path, metavar="FOLDER",
        help="where the disks are kept, so that they are computed once (default: nowhere)",
    )  # fmt: skip
    return words


if __name__ == "__main__":
    sys.exit(main(parser(), EXPERIMENT))
