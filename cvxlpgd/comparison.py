"""Derivatives side by side on one problem: errors, cosines, times, zeros."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import cvxpy as cp
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cvxlpgd.derivatives import LPGD, Derivative, FiniteDifference, Implicit
from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning, InvalidInput
from cvxlpgd.layer import Call, Layer
from cvxlpgd.solvers._protocol import Solver

DIRECTIONS = 32  # random directions along which finite differences are taken
TINY = 1e-6  # of the automatic tau, where a difference is mostly the solver's noise
STEP = 1e-5  # of the judging differences: small, lest they step over a change of active set
SIDES = ("lower", "upper", "average")
DECADES = 10.0 ** np.arange(-3, 4)  # of the automatic tau, for the default comparison

Gradient = list[np.ndarray]


@dataclass(frozen=True)
class Row:
    """One derivative's gradient of one loss, judged.

    Attributes
    ----------
    derivative : str
    tau : float or None
        The perturbation; the median over the samples where it is automatic.
    automatic : bool
    side : str or None
    error_reference, cosine_reference : float
        |g - g_ref| / |g_ref| and the cosine of the angle between them, over all parameters.
    error_fd, cosine_fd : float
        The same against central differences, both projected on random directions.
    seconds : float
        Wall time of the backward pass.
    zeros : float
        Share of the gradient's entries that are exactly 0.
    failed : int
        Samples without a gradient, counted as 0.
    """

    derivative: str
    tau: float | None
    automatic: bool
    side: str | None
    error_reference: float
    cosine_reference: float
    error_fd: float
    cosine_fd: float
    seconds: float
    zeros: float
    failed: int


@dataclass(frozen=True)
class Comparison:
    """The rows of `compare`, and what they were measured against.

    Attributes
    ----------
    rows : tuple of Row
    reference : str
        The derivative that errors and cosines are relative to.
    noise : float
        The relative error that the solver's noise causes at tau = 1; at tau it is noise / tau.
    solver : str
    samples, entries : int
        Size of the batch, and of all parameters together.
    """

    rows: tuple[Row, ...]
    reference: str
    noise: float
    solver: str
    samples: int
    entries: int

    def to_markdown(self) -> str:
        """A readable table."""
        head = [
            "derivative", "tau", "side", "error (reference)", "cosine", "error (differences)",
            "cosine", "ms", "zeros", "failed",
        ]  # fmt: skip
        body = [
            [
                row.derivative,
                "" if row.tau is None else f"{'auto ' * row.automatic}{row.tau:.1e}",
                row.side or "",
                f"{row.error_reference:.1e}",
                f"{row.cosine_reference:.4f}",
                f"{row.error_fd:.1e}",
                f"{row.cosine_fd:.4f}",
                f"{1e3 * row.seconds:.1f}",
                f"{row.zeros:.0%}",
                row.failed or "",
            ]
            for row in self.rows
        ]
        title = (
            f"Gradients of {self.samples} sample(s), {self.entries} parameter entries, solver "
            f"{self.solver}; reference {self.reference}; differences along random directions."
        )
        table = tabulate(body, headers=head, tablefmt="github", disable_numparse=True)
        return f"{title}\n\n{table}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers and strings, for JSON; what is not a number is null."""
        plain = asdict(self)
        plain["rows"] = [
            {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            for row in plain["rows"]
        ]
        return plain

    def plot(self, path: str) -> None:
        """Draw error against tau, for each side, with the solver's noise, to a file."""
        from cvxlpgd.plots import draw_comparison

        draw_comparison(self, path)


def compare(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    values: Sequence[Any],
    derivatives: Sequence[Derivative] | None = None,
    reference: Derivative | None = None,
    cotangents: Sequence[Any] | None = None,
    loss: Callable[..., Any] | None = None,
    *,
    solver: str | Solver | None = None,
    taus: Sequence[float] | None = None,
    gp: bool = False,
    progress: bool = False,
) -> Comparison:
    """Compare derivatives of one loss of a problem's solution.

    Parameters
    ----------
    problem, parameters, variables, solver, gp
        As for a layer.
    values : list of arrays (*batch axes, *parameter shape)
    derivatives : list, optional
        By default the reference, LPGD() and LPGD at each tau for all three sides.
    reference : Derivative, optional
        Implicit() by default; where it does not apply FiniteDifference() takes its place.
    cotangents : list of arrays of the outputs' shapes, optional
        The loss' derivative; standard normal from a fixed seed if neither this nor `loss` is given.
    loss : callable, optional
        loss(*variables) -> a number, of torch tensors where torch is installed, else of arrays.
    taus : list of float, optional
        By default seven decades around the automatic one.
    progress : bool
        Show a progress bar.

    Raises
    ------
    CvxlpgdError
        As a layer would.
    """
    layer = Layer(problem, parameters, variables, solver, gp, on_failure="nan")
    arrays = [np.asarray(v, dtype=float) for v in values]
    call = layer.forward(arrays)
    if not call.record.ok.any():
        raise InvalidInput("no sample has a solution, so there is nothing to compare")
    bars = _cotangents(layer, call, cotangents, loss)
    judge = _Judge(layer, call, arrays, bars)
    chosen, name = _reference(layer, call, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CvxlpgdWarning)
        judge.gradient(LPGD())
        automatic = call.record.tau.copy()
        expected = judge.gradient(chosen)
        if derivatives is None:
            derivatives = [chosen, LPGD(), *_grid(taus, automatic)]
        noise = judge.noise(float(np.nanmedian(automatic)), expected)
        bar = tqdm(derivatives, desc="compare", disable=not progress, delay=1.0)
        rows = tuple(judge.row(derivative, expected) for derivative in bar)
    size = sum(domain.size for domain in layer.domains)
    samples = call.batch.samples
    return Comparison(rows, name, noise, call.solver.name, samples, size)


def _grid(taus: Sequence[float] | None, automatic: np.ndarray) -> list[LPGD]:
    if taus is None:
        middle = 10.0 ** np.rint(np.log10(np.nanmedian(automatic)))
        taus = [float(f"{tau:.0e}") for tau in middle * DECADES]
    return [LPGD(tau=tau, side=side) for side in SIDES for tau in taus]  # type: ignore[arg-type]


def _reference(layer: Layer, call: Call, wanted: Derivative | None) -> tuple[Derivative, str]:
    derivative: Derivative = Implicit() if wanted is None else wanted
    try:
        derivative.require(call.program.structure, call.solver)
    except CvxlpgdError as error:
        differences = FiniteDifference()
        return differences, f"{_name(differences)}, because {error}"
    return derivative, _name(derivative)


def _name(derivative: Derivative) -> str:
    mode = getattr(derivative, "mode", None)
    return type(derivative).__name__ + (f"({mode})" if mode else "()")


def _cotangents(
    layer: Layer, call: Call, given: Sequence[Any] | None, loss: Callable[..., Any] | None
) -> list[np.ndarray]:
    """The loss' derivative for each output, (batch, size)."""
    if given is not None and loss is not None:
        raise InvalidInput("give cotangents or a loss, not both")
    outputs = [
        value.reshape(call.batch.shape + shape)
        for value, shape in zip(call.outputs, layer.shapes, strict=True)
    ]
    if loss is not None:
        found = _torch_gradient(loss, outputs) if find_spec("torch") else _slopes(loss, outputs)
    elif given is not None:
        found = [np.broadcast_to(np.asarray(g, float), o.shape)
                 for g, o in zip(given, outputs, strict=True)]  # fmt: skip
    else:
        rng = np.random.default_rng(0)
        found = [rng.normal(size=output.shape) for output in outputs]
    return [f.reshape(v.shape) for f, v in zip(found, call.outputs, strict=True)]


def _torch_gradient(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    import torch

    tensors = [torch.tensor(output, requires_grad=True) for output in outputs]
    value = loss(*tensors)
    gradients = torch.autograd.grad(value.sum(), tensors, allow_unused=True)
    return [np.zeros(o.shape) if g is None else g.numpy()
            for o, g in zip(outputs, gradients, strict=True)]  # fmt: skip


def _slopes(loss: Callable[..., Any], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Central differences of the loss, entry by entry, where torch is not installed."""
    found = []
    for k, output in enumerate(outputs):
        slope = np.zeros(output.size)
        for i in range(output.size):
            ends = []
            for h in (1e-6, -1e-6):
                moved = [o.copy() for o in outputs]
                moved[k].reshape(-1)[i] += h
                ends.append(float(np.sum(loss(*moved))))
            slope[i] = (ends[0] - ends[1]) / 2e-6
        found.append(slope)
    return found


class _Judge:
    """One loss at one point, and what its gradient is held against."""

    def __init__(
        self, layer: Layer, call: Call, values: Sequence[np.ndarray], bars: Sequence[np.ndarray]
    ) -> None:
        self.layer, self.call, self.bars = layer, call, list(bars)
        rng = np.random.default_rng(1)
        scales = [np.abs(v).max(initial=0.0) or 1.0 for v in values]
        count = min(DIRECTIONS, max(1, sum(v.size for v in values)))
        self.directions = [
            [scale * rng.normal(size=v.shape) for scale, v in zip(scales, values, strict=True)]
            for _ in range(count)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CvxlpgdWarning)
            self.slopes = np.array([self._slope(direction) for direction in self.directions])

    def gradient(self, derivative: Derivative) -> Gradient:
        """The parameters' gradients."""
        call = replace(self.call, derivative=derivative.fixed(self.call.batch.shape))
        found = self.layer.vjp(call, self.bars, [True] * len(self.layer.domains))
        return [g for g in found if g is not None]

    def row(self, derivative: Derivative, expected: Gradient) -> Row:
        """Time it and judge it."""
        derivative.require(self.call.program.structure, self.call.solver)
        tried = []
        for _ in range(3):
            begin = perf_counter()
            found = self.gradient(derivative)
            tried.append(perf_counter() - begin)
            if sum(tried) > 1.0:
                break
        flat, wanted = _flat(found), _flat(expected)
        along = np.array([_dot(found, direction) for direction in self.directions])
        taus = self.call.record.tau[np.isfinite(self.call.record.tau)]
        return Row(
            derivative=_name(derivative),
            tau=float(np.median(taus)) if taus.size else None,
            automatic=isinstance(derivative, LPGD) and isinstance(derivative.tau, str),
            side=derivative.side if isinstance(derivative, LPGD) else None,
            error_reference=_error(flat, wanted),
            cosine_reference=_cosine(flat, wanted),
            error_fd=_error(along, self.slopes),
            cosine_fd=_cosine(along, self.slopes),
            seconds=median(tried),
            zeros=float(np.mean(flat == 0)) if flat.size else 0.0,
            failed=int(np.sum(~self.call.record.ok)),
        )

    def noise(self, tau: float, expected: Gradient) -> float:
        """The relative error times tau at a tau so small that noise is all there is."""
        found = _flat(self.gradient(LPGD(tau=TINY * tau)))
        return _error(found, _flat(expected)) * TINY * tau

    def _slope(self, direction: Gradient) -> float:
        call = replace(self.call, derivative=FiniteDifference(STEP))
        dots = self.layer.jvp(call, direction)
        ok = np.flatnonzero(self.call.record.solution.ok)
        return float(sum(np.sum(b[ok] * d[ok]) for b, d in zip(self.bars, dots, strict=True)))


def _flat(gradient: Gradient) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(g.ravel() for g in gradient)])


def _dot(gradient: Gradient, direction: Gradient) -> float:
    return float(sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True)))


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    size = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(found - wanted)) / size if size else float("nan")


def _cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    size = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    return float(found @ wanted) / size if size else float("nan")
