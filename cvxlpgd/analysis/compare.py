"""Derivatives side by side on one problem: errors, cosines, times, zeros."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cvxlpgd.analysis.score import Judge, Score, loss_cotangents, title_of
from cvxlpgd.checks import is_positive
from cvxlpgd.derivatives import LPGD, Derivative, Exact, FiniteDifference, Implicit
from cvxlpgd.derivatives.protocol import check_derivative, require_structure
from cvxlpgd.derivatives.tau.sizes import SMOOTH
from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning, InvalidInput, InvalidOption
from cvxlpgd.layer import Call, Layer, real
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers.protocol import Solver

SIDES = ("lower", "upper", "average")
REFERENCE = Implicit()
DECADES = 10.0 ** np.arange(-3, 4)  # of the automatic tau, for the default comparison


@dataclass(frozen=True)
class Comparison:
    """The rows of `compare`, and what they were measured against.

    Attributes
    ----------
    rows : tuple of Score
    reference : str
        The derivative that errors and cosines are relative to.
    noise : float
        The relative error that the solver's noise causes at tau = 1; at tau it is noise / tau.
    solver : str
    samples, entries : int
        Size of the batch, and of all parameters together.
    """

    rows: tuple[Score, ...]
    reference: str
    noise: float
    solver: str
    samples: int
    entries: int

    def to_markdown(self) -> str:
        """A readable table."""
        head = [
            "derivative", "tau", "side", "error (reference)", "cosine", "error (differences)",
            "cosine", "size", "ms", "zeros", "failed",
        ]  # fmt: skip
        body = [_cells(row) for row in self.rows]
        title = (
            f"Gradients of {self.samples} sample(s), {self.entries} parameter entries, solver "
            f"{self.solver}; reference {self.reference}; differences along random directions."
        )
        table = tabulate(body, headers=head, tablefmt="github", disable_numparse=True)
        return f"{title}\n\n{table}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers and strings, for JSON; what is not a number is null."""
        plain = asdict(self)
        return _finite(plain) | {"rows": [_finite(row) for row in plain["rows"]]}

    def plot(self, path: str) -> None:
        """Draw error against tau, for each side, with the solver's noise, to a file."""
        from cvxlpgd.analysis.plots import draw_comparison

        size = f"{self.samples} samples, {self.entries} parameter entries"
        title = f"{size}, solver {self.solver}"
        draw_comparison(self.rows, self.reference, self.noise, title, path)


def compare(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    values: Sequence[Any],
    derivatives: Sequence[Derivative] | None = None,
    reference: Derivative = REFERENCE,
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
        By default the reference, Exact(), LPGD() and LPGD at each tau for all three sides.
    reference : Derivative
        Where it does not apply FiniteDifference() takes its place.
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
    _check(derivatives, reference, cotangents, loss, taus)
    layer = Layer(problem, parameters, variables, solver=solver, gp=gp, on_failure="nan")
    if not isinstance(values, list | tuple):
        raise InvalidInput(f"values must be a list, one for each parameter, not {values!r}")
    arrays = [real(v, f"value {i}").astype(float) for i, v in enumerate(values)]
    call = layer.forward(arrays)
    if not call.record.ok.any():
        raise InvalidInput("no sample has a solution, so there is nothing to compare")
    bars = loss_cotangents(layer, call, cotangents, loss)
    if not (arrays and any(bar[call.record.ok.reshape(-1)].any() for bar in bars)):
        raise InvalidInput("there is nothing to compare: no parameter, or cotangents that are zero")
    judge = Judge(layer, call, arrays, bars)
    chosen, name = _reference(call, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CvxlpgdWarning)
        derived = (LPGD(tau=Relative(SMOOTH)), LPGD(), chosen)
        (_, smooth), (_, own), (expected, _) = (judge.differentiate(d) for d in derived)
        automatic = np.where(own.tau > 0, own.tau, smooth.tau)  # 0 is the limit
        if derivatives is None:
            derivatives = [chosen, *_exact(call, chosen), LPGD(), *_grid(taus, automatic)]
        noise = judge.noise(float(np.nanmedian(automatic)), expected)
        bar = tqdm(derivatives, desc="compare", disable=not progress, delay=1.0)
        rows = tuple(judge.row(derivative, expected) for derivative in bar)
    size = sum(domain.size for domain in layer.domains)
    return Comparison(rows, name, noise, call.record.solver, call.batch.samples, size)


def _cells(row: Score) -> list[Any]:
    """A row of the table."""
    tau = "" if row.tau is None else f"{'auto ' * row.automatic}{row.tau:.1e}"
    return [
        row.derivative, "limit" if row.tau == 0 else tau, row.side or "",
        f"{row.error_reference:.1e}", f"{row.cosine_reference:.4f}",
        "no verdict" if np.isnan(row.error_fd) else f"{row.error_fd:.1e}",
        "" if np.isnan(row.cosine_fd) else f"{row.cosine_fd:.4f}",
        f"{row.size:.1e}", f"{1e3 * row.seconds:.1f}", f"{row.zeros:.0%}", row.failed or "",
    ]  # fmt: skip


def _check(derivatives: Any, reference: Any, cotangents: Any, loss: Any, taus: Any) -> None:
    """Raise InvalidOption or InvalidInput for arguments that are not what they must be."""
    check_derivative("reference", reference)
    for name, given in (("derivatives", derivatives), ("taus", taus)):
        if given is not None and not isinstance(given, list | tuple | np.ndarray):
            raise InvalidOption(f"{name} must be a list, not {given!r}")
    for i, derivative in enumerate([] if derivatives is None else derivatives):
        check_derivative(f"derivatives[{i}]", derivative)
    for i, tau in enumerate([] if taus is None else taus):
        if not is_positive(tau):
            raise InvalidOption(f"taus[{i}] must be a number > 0, not {tau!r}")
    if cotangents is not None and not isinstance(cotangents, list | tuple):
        raise InvalidInput(f"cotangents must be a list, one for each variable, not {cotangents!r}")
    if loss is not None and not callable(loss):
        raise InvalidInput(f"loss must be a function of the variables, not {loss!r}")


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, None in place of what is not a finite number."""
    return {
        k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fields.items()
    }


def _grid(taus: Sequence[float] | None, automatic: np.ndarray) -> list[LPGD]:
    if taus is None:
        middle = 10.0 ** np.rint(np.log10(np.nanmedian(automatic)))
        taus = [float(f"{tau:.0e}") for tau in middle * DECADES]
    return [LPGD(tau=tau, side=side) for side in SIDES for tau in taus]  # type: ignore[arg-type]


def _exact(call: Call, reference: Derivative) -> list[Derivative]:
    """Exact(), where it applies and is not the reference."""
    try:
        require_structure(Exact(), call.program.structure, call.solver)
    except CvxlpgdError:
        return []
    return [] if reference == Exact() else [Exact()]


def _reference(call: Call, wanted: Derivative) -> tuple[Derivative, str]:
    try:
        require_structure(wanted, call.program.structure, call.solver)
    except CvxlpgdError as error:
        return FiniteDifference(), f"{title_of(FiniteDifference())}, because {error}"
    return wanted, title_of(wanted)
