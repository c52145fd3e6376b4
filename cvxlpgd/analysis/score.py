"""How one derivative did beside the others: a row of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cvxlpgd.layer.description import number


@dataclass(frozen=True)
class Score:
    """One derivative's gradient of one loss, judged.

    Attributes
    ----------
    derivative : str
        Its kind, such as "LPGD()".
    tau : float or None
        The perturbation; the median over the samples where it is automatic.
    automatic : bool
    side : str or None
    error_reference, cosine_reference : float
        |g - g_ref| / |g_ref| and the cosine of the angle between them, over all parameters whose
        g_ref is not 0; NaN where there is none.
    error_fd, cosine_fd : float
        The same against central differences, both projected on random directions along which two
        steps agree; NaN, no verdict, where they agree along none.
    seconds : float
        Wall time of the backward pass.
    size : float
        |g|, over all parameters.
    zeros : float
        Share of the gradient's entries that are 0 up to rounding.
    failed : int
        Samples without a gradient, counted as 0.
    title : str
        The derivative with its settings, such as LPGD(tau=1e-3, side="lower").
    method : str
        How the gradient came about, as in a layer's record: "path", "differences", ...; of most
        samples.
    size_beyond : float
        |g| of the parameters whose g_ref is 0; 0 where it is no more than rounding.
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
    size: float
    zeros: float
    failed: int
    title: str
    method: str
    size_beyond: float

    @property
    def is_limit(self) -> bool:
        """Whether it is the limit tau -> 0, in part at least."""
        return "path" in self.method

    @property
    def clear_size(self) -> float:
        """The size, 0 where the whole gradient is no more than rounding."""
        return self.size_beyond if math.isnan(self.error_reference) else self.size

    @property
    def label(self) -> str:
        """The title, and what an automatic tau was."""
        if not self.automatic or self.tau is None:
            return self.title
        tau = "limit" if self.tau == 0 else f"auto {number(self.tau)}"
        return f"{self.title}  {tau}"
