"""Pictures of gradients against tau: where they are noise, exact, zero, or look further."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.score import Score
from cvxlpgd.analysis.tau_ranges import CLOSE, agreeing, by_side, error_of
from cvxlpgd.analysis.verdict import is_doubtful
from cvxlpgd.analysis.words import listed
from cvxlpgd.errors import InvalidInput, SolverNotInstalled
from cvxlpgd.layer.description import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# colors that are told apart by everybody (Okabe and Ito), and tints of regions
COLORS = {"lower": "#d55e00", "upper": "#0072b2", "average": "#009e73"}
NOISE, AGREES, FURTHER, ZERO = "#b0b0b0", "#7fcf9f", "#f2cf7f", "#d8d8d8"
LEAST = 1e-16  # error that is drawn: below it is rounding


class Region(NamedTuple):
    """A range of tau and what gradients are there."""

    name: str
    least: float
    most: float
    color: str


def figure_of(panels: float) -> Figure:
    """A figure for so many panels above each other, as wide as a page.

    Raises
    ------
    SolverNotInstalled
        Without matplotlib.
    """
    try:
        from cvxlpgd.analysis._figure import new_picture
    except ModuleNotFoundError as error:
        raise SolverNotInstalled('pictures need matplotlib: pip install "cvxlpgd[plot]"') from error
    return new_picture(8.0, 1.4 + 3.0 * panels)


def check_picture(path: str | PathLike[str] | None) -> None:
    """Raise, before anything is computed, where a picture could not be written in the end.

    Raises
    ------
    InvalidInput, SolverNotInstalled
        For a name that does not end in a known format; without matplotlib.
    """
    if path is None:
        return
    if find_spec("matplotlib") is None:
        raise SolverNotInstalled(
            f'cannot draw to {path}: pictures need matplotlib: pip install "cvxlpgd[plot]"'
        )
    from matplotlib.backend_bases import FigureCanvasBase

    kinds, file, reason = FigureCanvasBase.get_supported_filetypes(), Path(path), ""
    folder = file.parent
    if file.suffix.lower().removeprefix(".") not in kinds:
        reason = f"its name must end in one of {', '.join(f'.{kind}' for kind in sorted(kinds))}"
    elif not folder.is_dir():
        reason = f"there is no folder {folder}"
    elif file.is_dir() or not os.access(file if file.exists() else folder, os.W_OK):
        reason = "it is a folder, or may not be written"
    if reason:
        raise InvalidInput(f"cannot draw to {path}: {reason}")


def save(figure: Figure, path: str | PathLike[str] | None) -> Figure:
    """The figure, written to a file if there is a path."""
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def shade(axis: Any, regions: Sequence[Region]) -> None:
    """Color the regions of an axis of log tau and name them at the top, cut to what is shown."""
    left, right = axis.get_xlim()
    for region in regions:
        least, most = max(region.least, left), min(region.most, right)
        if least >= most:
            continue
        axis.axvspan(least, most, color=region.color, alpha=0.35, lw=0, zorder=0)
        axis.text(
            np.sqrt(least * most), 0.97, region.name, transform=axis.get_xaxis_transform(),
            ha="center", va="top", fontsize=10, weight="bold", color="#333333",
        )  # fmt: skip


def note_noise(axis: Any, floor: float) -> None:
    """Say where noise is, to the left of what is shown."""
    axis.text(
        0.01, 0.8, f"\u2190 noise below {number(floor, 0)}", transform=axis.transAxes, va="top",
        fontsize=9, color="#555555",
    )  # fmt: skip


def draw_comparison(
    rows: Sequence[Score],
    facts: Facts,
    reference: str,
    noise: float,
    title: str,
    path: str | PathLike[str] | None,
) -> Figure:
    """Draw errors against tau, and beside them gradients that are 0 by the reference."""
    check_picture(path)
    errors, zeros = not facts.all_zero, bool(facts.zero)
    figure = figure_of(errors + zeros)
    axes = figure.subplots(errors + zeros, 1, squeeze=False, sharex=True)[:, 0]
    for axis in axes:
        axis.set_xscale("log")
        axis.grid(alpha=0.25)
    if errors:
        doubtful = is_doubtful(rows, facts, reference)
        _draw_errors(axes[0], rows, noise, doubtful)
        judge = "central differences" if doubtful else reference
        axes[0].set_ylabel(f"relative error, against {judge}")
    if zeros:
        _draw_beyond(axes[-1], rows)
        axes[-1].set_ylabel(f"size of the gradient of {listed(facts.zero)}")
    axes[-1].set_xlabel("tau")
    figure.suptitle(textwrap.fill(title, 80), fontsize=11)
    handles = {line.get_label(): line for axis in axes for line in axis.lines}
    shown = {k: v for k, v in handles.items() if not str(k).startswith("_")}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False)
    return save(figure, path)


def _draw_errors(axis: Any, rows: Sequence[Score], noise: float, doubtful: bool) -> None:
    """The relative errors of the sides and of the limit, and the solver's noise."""
    sides = by_side(rows)
    axis.set_yscale("log")
    for side, of_side in sides.items():
        pairs = [(row.tau, error_of(row, doubtful)) for row in of_side]
        points = [(tau, max(error, LEAST)) for tau, error in pairs if np.isfinite(error)]
        if points:
            axis.plot(*zip(*points, strict=True), "o-", color=COLORS[side], label=_name(side))
    for row in rows:
        error = error_of(row, doubtful)
        if row.automatic and row.is_limit and np.isfinite(error) and error > 0:
            axis.axhline(max(error, LEAST), color="black", ls="-.", label="LPGD(), the limit")
        elif row.automatic and row.tau and np.isfinite(error):
            axis.plot([row.tau], [error], "*", ms=15, color="black", label="LPGD()", zorder=5)
    axis.axhline(CLOSE, color="#666666", lw=0.8, ls=":", label="1 %")
    first = next(iter(sides.values()), [])
    if first:
        every = [row.tau for of_side in sides.values() for row in of_side if row.tau]
        axis.set_xlim(min(every) / 3, max(every) * 3)
        _draw_regions(axis, first, doubtful, noise)


def _draw_regions(axis: Any, rows: Sequence[Score], doubtful: bool, noise: float) -> None:
    """The ranges of tau of one side's rows, and the noise that differences have in them."""
    taus, span = np.array([row.tau or 0.0 for row in rows]), agreeing(rows, doubtful)
    left, right = axis.get_xlim()
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, max(top, 1.0) * 1e3)  # room for the names
    floor = noise / CLOSE if np.isfinite(noise) else 0.0
    if floor and noise / left > bottom:
        label = "the solver's noise"
        axis.plot([left, right], [noise / left, noise / right], ":", color="red", label=label)
    if not span:
        shade(axis, [Region("looks further", max(floor, left), right, FURTHER)])
        return
    first, last = rows.index(span[0]), rows.index(span[-1])
    least = floor if first == 0 else np.sqrt(taus[first - 1] * taus[first])
    most = np.sqrt(taus[last] * taus[last + 1]) if last + 1 < len(taus) else right
    shade(axis, [
        Region("noise", 0.0, least, NOISE),
        Region("agrees with the\nexact derivative", least, most, AGREES),
        Region("looks\nfurther", most, np.inf, FURTHER),
    ])  # fmt: skip
    if 0 < least <= left:
        note_noise(axis, floor)


def _draw_beyond(axis: Any, rows: Sequence[Score]) -> None:
    """The gradients of parameters whose reference gradient is 0."""
    sides = by_side(rows)
    taus = [row.tau for of_side in sides.values() for row in of_side if row.tau]
    seen = [row.tau for of_side in sides.values() for row in of_side if row.size_beyond and row.tau]
    for side, of_side in sides.items():
        points = [(row.tau, row.size_beyond) for row in of_side]
        axis.plot(*zip(*points, strict=True), "o-", color=COLORS[side], label=_name(side))
    for row in rows:
        if row.automatic and row.tau:
            axis.plot(
                [row.tau], [row.size_beyond], "*", ms=15, color="black", zorder=5,
                label=f"LPGD(), tau = {number(row.tau)}",
            )  # fmt: skip
    axis.set_ylim(-0.03 * axis.get_ylim()[1], 1.3 * axis.get_ylim()[1])
    if taus:
        axis.set_xlim(min(taus) / 3, max(taus) * 3)
        before = [tau for tau in taus if not seen or tau < min(seen)]
        edge = np.sqrt(max(before) * min(seen)) if before and seen else min(taus) / 3
        edge = edge if seen else np.inf
        shade(
            axis, [Region("zero", 0.0, edge, ZERO), Region("looks further", edge, np.inf, FURTHER)]
        )


def _name(side: str) -> str:
    return "average of both sides" if side == "average" else f'side="{side}"'
