"""Everything cvxlpgd raises or warns with, so that one `except CvxlpgdError` catches it all."""

import cvxpy as cp

__all__ = [
    "CvxlpgdError",
    "CvxlpgdWarning",
    "DegenerateGradientWarning",
    "DerivativeFailed",
    "FailedSampleWarning",
    "InaccurateGradientWarning",
    "InaccurateSolutionWarning",
    "InfeasibleTargetWarning",
    "InvalidInput",
    "InvalidOption",
    "InvalidProblem",
    "IrregularGradientWarning",
    "SolveFailed",
    "SolverNotInstalled",
    "UnsuitableSolver",
]


def __dir__() -> list[str]:
    """What is public."""
    return __all__


class CvxlpgdError(Exception):
    """Base of every error raised on purpose by cvxlpgd."""


class InvalidProblem(CvxlpgdError, ValueError):
    """The problem, its parameters or its variables cannot be made into a layer."""


class InvalidInput(CvxlpgdError, ValueError):
    """A value handed to a layer has the wrong count, shape, dtype or domain."""


class InvalidOption(CvxlpgdError, ValueError):
    """An option is unknown, misspelled, contradictory or out of range."""


class SolverNotInstalled(CvxlpgdError, ImportError):
    """A solver or an optional library was asked for that is not installed."""


class UnsuitableSolver(CvxlpgdError, ValueError):
    """The solver cannot take this program: its cones, its quadratic objective or its integers."""


class SolveFailed(CvxlpgdError, RuntimeError, cp.SolverError):
    """A sample is infeasible, unbounded or was not solved; names the samples and what to try.

    It is a CVXPY error too, so that code that catches those goes on working.

    Attributes
    ----------
    samples : tuple[int, ...]
        Positions in the flattened batch.
    statuses : tuple[str, ...]
        The status of each of these samples.
    """

    def __init__(
        self, message: str, samples: tuple[int, ...] = (), statuses: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.samples = samples
        self.statuses = statuses

    def __reduce__(self) -> tuple[type, tuple[str, tuple[int, ...], tuple[str, ...]]]:
        return type(self), (str(self), self.samples, self.statuses)


class DerivativeFailed(CvxlpgdError, RuntimeError):
    """A derivative does not exist here or cannot be computed by this method."""


class CvxlpgdWarning(UserWarning):
    """Base of every warning of cvxlpgd, for one filter."""


class InaccurateSolutionWarning(CvxlpgdWarning):
    """A solution is short of the accuracy asked for; it is used all the same."""


class DegenerateGradientWarning(CvxlpgdWarning):
    """A gradient is zero or below the solver's accuracy although the cotangent is not zero."""


class IrregularGradientWarning(CvxlpgdWarning):
    """A solution has no derivative, a kink, or more than one gradient: a stand-in is returned."""


class InaccurateGradientWarning(CvxlpgdWarning):
    """A gradient may be off by more than 1 %, or rests on a solve short of its tolerance."""


class FailedSampleWarning(CvxlpgdWarning):
    """Samples failed and were returned as NaN, because on_failure="nan"."""


class InfeasibleTargetWarning(CvxlpgdWarning):
    """A loss was given a decision that the constraints do not allow."""
