"""The picture of a layer's gradient against tau."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxlpgd.analysis.plots import (
    AGREES,
    FURTHER,
    NOISE,
    ZERO,
    Region,
    check_picture,
    figure_of,
    note_noise,
    save,
    shade,
)
from cvxlpgd.analysis.tau_profile import Profile, profiles
from cvxlpgd.layer import Layer, Record
from cvxlpgd.layer.description import kind_of, spelling

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENTRIES = 5  # that are drawn, the largest
LEAST = 1e-2  # of the largest: smaller entries cannot be told from 0
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito
ROOM = 1.35  # times the largest value: the regions' names stand above


def plot_tau(
    layer: Layer,
    values: Sequence[np.ndarray],
    cotangents: Sequence[Any] | None,
    loss: Callable[..., Any] | None,
    taus: Sequence[float] | None,
    path: str | PathLike[str] | None,
    tensors: bool,
) -> Figure:
    """The figure, see `cvxlpgd.torch.CvxpyLayer.plot_tau`."""
    check_picture(path)
    record, each = profiles(layer, values, cotangents, loss, taus, tensors)
    figure = figure_of(1.5 * len(each))
    axes = figure.subplots(
        2 * len(each), 1, squeeze=False, sharex=True, height_ratios=[2.2, 1] * len(each)
    )[:, 0]
    for k, profile in enumerate(each):
        upper, lower = axes[2 * k], axes[2 * k + 1]
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.grid(alpha=0.25)
        _draw_gradient(upper, profile)
        _draw_cosine(lower, profile)
    axes[-1].set_xlabel("tau")
    figure.suptitle(_title(layer, record), fontsize=11)
    return save(figure, path)


def _title(layer: Layer, record: Record) -> str:
    samples, derivative = record.status.size, spelling(layer.derivative)
    size = f"{samples} sample{'s' * (samples != 1)}, solved by {record.solved_by}"
    kind = kind_of(layer.structure)
    return f"{kind[0].upper()}{kind[1:]}: {size}\ngradient against tau; the layer has {derivative}"


def _draw_gradient(axis: Any, profile: Profile) -> None:
    """The largest entries and the norm, with the regions and what the layer itself takes."""
    taus, gradients = profile.taus, profile.gradients
    clear = ~(taus < profile.edges()[0]) if not profile.is_zero else taus > 0  # beyond the noise
    visible = np.nan_to_num(gradients[clear] if clear.any() else gradients)
    largest = np.abs(visible).max(axis=0)
    order = [j for j in np.argsort(-largest)[:ENTRIES] if largest[j] > LEAST * largest.max()]
    for color, j in zip(COLORS, order, strict=False):
        axis.plot(taus, gradients[:, j], ".-", color=color, ms=4, label=profile.names[j])
        if profile.own.any() and not profile.own_tau.size:
            axis.axhline(profile.own[j], color=color, ls=":", lw=1)
    top, bottom = largest.max(initial=0.0), visible.min()
    if gradients.shape[1] > 1:
        norms = np.linalg.norm(gradients, axis=1)
        label = f"norm of all\n{gradients.shape[1]} entries"
        axis.plot(taus, norms, color="black", lw=1.5, label=label)
        top = max(top, np.linalg.norm(visible, axis=1).max())
    height = top - min(bottom, 0.0) or 1.0
    axis.set_ylim(min(bottom, 0.0) - 0.08 * height, top + (ROOM - 1) * height)
    what = "gradient" if not profile.is_zero else "gradient, where the exact one is 0"
    axis.set_ylabel(what)
    axis.set_xlim(taus[0] / 1.5, taus[-1] * 1.5)
    _mark_own(axis, profile)
    shade(axis, _regions(profile))
    if 0 < profile.floor < axis.get_xlim()[0] and not profile.is_zero:
        note_noise(axis, profile.floor)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _mark_own(axis: Any, profile: Profile) -> None:
    """The tau that the layer takes, as a line; the limit by its values, which are dotted."""
    if profile.own_tau.size:
        middle = float(np.median(profile.own_tau))
        axis.axvline(middle, color="black", ls="--", lw=1.5, label=profile.own_label)
    else:
        axis.plot([], [], color="black", ls=":", lw=1, label=profile.own_label)


def _draw_cosine(axis: Any, profile: Profile) -> None:
    """How the direction changes."""
    axis.plot(profile.taus, profile.cosines(), ".-", color="black", ms=4)
    axis.set(ylabel=f"cosine with\n{profile.compass[0]}", ylim=(-1.15, 1.15))
    if profile.own_tau.size:
        axis.axvline(float(np.median(profile.own_tau)), color="black", ls="--", lw=1.5)
    shade(axis, [region._replace(name="") for region in _regions(profile)])


def _regions(profile: Profile) -> list[Region]:
    """What the gradient is at which tau."""
    least, most = profile.edges()
    if np.isnan(least):
        return []
    further = Region("looks\nfurther", most, np.inf, FURTHER)
    if profile.is_zero:
        return [Region("zero", 0.0, least, ZERO), further]
    agrees = Region("agrees with the\nexact derivative", least, most, AGREES)
    return [Region("noise", 0.0, least, NOISE), agrees, further]
