"""What `compare` returns: rows, a verdict on them, and their pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxlpgd.analysis import display
from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.score import Score
from cvxlpgd.analysis.verdict import verdict
from cvxlpgd.analysis.words import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Comparison:
    """The rows of `compare`, what they were measured against, and a verdict in words.

    `print(comparison)` shows the verdict, a table of 80 columns and what its columns mean;
    notebooks show the same in color.

    Attributes
    ----------
    rows : tuple of Score
    reference : str
        The derivative that errors and cosines are relative to.
    noise : float
        The relative error that the solver's noise causes at tau = 1; at tau it is noise / tau. NaN
        where every reference gradient is 0.
    solver : str
        Who solved the samples that are compared; how many each, where there are several.
    samples, entries : int
        Size of the batch, and of all parameters together.
    facts : Facts
        What the verdict knows of the problem and its solutions.

    Examples
    --------
    >>> import cvxpy as cp, numpy as np, cvxlpgd
    >>> x, c = cp.Variable(2), cp.Parameter(2, name="c")
    >>> problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0])
    >>> report = cvxlpgd.compare(problem, [c], [x], [np.array([1.0, 2.0])])
    >>> report.facts.zero
    ('c',)
    """

    rows: tuple[Score, ...]
    reference: str
    noise: float
    solver: str
    samples: int
    entries: int
    facts: Facts

    @property
    def verdict(self) -> str:
        """What the rows show, in words, a line for each subject.

        Which derivatives agree, and which is wrong; where the exact gradient is 0; kinks and
        failed samples; which tau to use, and at which it agrees with the exact derivative.
        """
        return verdict(self.rows, self.facts, self.reference, self.noise)

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} derivative{'s' * (len(self.rows) != 1)}"
        return f"Comparison({rows}; {self._size}, solved by {self.solver})"

    @property
    def _size(self) -> str:
        """How much was compared."""
        entries = "entry" if self.entries == 1 else "entries"
        return f"{count(self.samples)}, {self.entries} parameter {entries}"

    @property
    def title(self) -> str:
        """What was compared, in a line."""
        problem = self.facts.problem
        return f"{problem[0].upper()}{problem[1:]}: {self._size}, solved by {self.solver}"

    @property
    def _legend(self) -> dict[str, str]:
        return display.legend(self.rows, self.reference, self.facts.directions)

    def __str__(self) -> str:
        return "\n\n".join([
            textwrap.fill(self.title, display.WIDTH),
            display.wrapped(self.verdict.splitlines()),
            display.text_table(self.rows),
            display.legend_text(self._legend),
        ])  # fmt: skip

    def _repr_html_(self) -> str:
        meanings = ". ".join(f"{name}: {meaning}" for name, meaning in self._legend.items())
        return (
            f"<div><p><b>{escape(self.title)}</b></p>"
            f"{display.html_lines(self.verdict.splitlines())}{display.html_table(self.rows)}"
            f'<p style="font-size:80%;opacity:.75">{escape(meanings)}.</p></div>'
        )

    def to_markdown(self) -> str:
        """A title and the rows as a table, in GitHub's Markdown."""
        title = f"{self.title}; reference {self.reference}"
        return f"{title}\n\n{display.markdown_table(self.rows)}"

    def to_dict(self) -> dict[str, Any]:
        """All of it and the verdict, for JSON; what is not a finite number is None."""
        plain = asdict(self)
        rows = [_finite(row) for row in plain["rows"]]
        return _finite(plain) | {"rows": rows, "verdict": self.verdict}

    def plot(self, path: str | PathLike[str] | None = None) -> Figure:
        """Draw the error against tau, for each side, and where noise ends and agreement ends.

        Parameters
        ----------
        path : str or path, optional
            A file to write the picture to; its ending says in which format.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.

        Raises
        ------
        SolverNotInstalled
            Without matplotlib.
        """
        from cvxlpgd.analysis.plots import draw_comparison

        fields = self.rows, self.facts, self.reference, self.noise, self.title
        return draw_comparison(*fields, path)


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, None in place of what is not a finite number."""
    return {
        k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fields.items()
    }
