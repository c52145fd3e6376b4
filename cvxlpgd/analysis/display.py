"""Comparisons to look at: in a terminal of 80 columns, as Markdown, in a notebook."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape

from cvxlpgd.analysis.score import Score
from cvxlpgd.layer.description import number
from cvxlpgd.layer.html import table_html

WIDTH = 80  # columns of a terminal
TITLE = 29  # columns for a derivative: LPGD(tau=1e-3, side="average") is 31, the default's 28
HEAD = ["derivative", "error", "cosine", "fd error", "size", "zeros", "ms"]
NONE = "-"

# errors up to which a cell is green, light green and yellow; larger ones are orange
TINTS = {
    1e-6: "rgba(40,160,80,.35)", 1e-2: "rgba(40,160,80,.15)", 1e-1: "rgba(230,170,0,.25)",
    math.inf: "rgba(230,110,0,.3)",
}  # fmt: skip


def text_table(rows: Sequence[Score]) -> str:
    """The rows in at most 80 columns."""
    body = [[_shortened(row.label), *_cells(row, rows)] for row in rows]
    head, *lines = _aligned([_head(rows), *body])
    rule = ["-" * len(cell) for cell in head]
    return "\n".join("  ".join(line) for line in (head, rule, *lines))


def markdown_table(rows: Sequence[Score]) -> str:
    """The rows as a table of GitHub's Markdown."""
    body = [[f"`{row.title}`{row.label[len(row.title) :]}", *_cells(row, rows)] for row in rows]
    head, *lines = _aligned([_head(rows), *body])
    rule = ["-" * len(cell) for cell in head[:1]] + [
        "-" * (len(cell) - 1) + ":" for cell in head[1:]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def html_table(rows: Sequence[Score]) -> str:
    """The rows for a notebook, errors tinted."""
    body = []
    for row in rows:
        cells = _cells(row, rows)
        tints = ["", tint(row.error_reference), "", tint(row.error_fd), "", "", ""]
        body.append(list(zip([row.label, *cells], tints, strict=True)))
    return table_html(_head(rows), body)


def html_lines(lines: Sequence[str]) -> str:
    """A list of sentences for a notebook."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def wrapped(lines: Sequence[str]) -> str:
    """Sentences as a list, in at most 80 columns."""
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ") for line in lines
    )


def legend(rows: Sequence[Score], reference: str, directions: int) -> dict[str, str]:
    """What the columns mean, by their names."""
    error = f"|g - r| / |r| for the gradient g and the reference r, {reference}"
    along = f"central differences along {directions} random directions"
    meanings = {
        "error": error,
        "cosine": "of the angle between both",
        "fd error": f"the same against {along if directions else 'central differences'}",
    }
    if _any_failed(rows):
        meanings["failed"] = "samples without a gradient, counted as 0"
    else:
        meanings["size"] = "|g|, all parameters together"
    meanings |= {
        "zeros": "share of entries that are 0 up to rounding",
        "ms": "milliseconds of the backward pass",
    }
    if any(NONE in _cells(row, rows)[:3] for row in rows):
        meanings[NONE] = "nothing to be relative to: r is 0, or differences have no verdict"
    if any(row.side == "average" and not row.automatic for row in rows):
        meanings["LPGD(tau)"] = "without a side, the average of both"
    return meanings


def legend_text(meanings: dict[str, str]) -> str:
    """The meanings, a line each, in at most 80 columns."""
    wide = max(len(name) for name in meanings)
    return "\n".join(
        textwrap.fill(
            f"{name:<{wide}}  {meaning}", WIDTH, subsequent_indent=" " * (wide + 2),
            break_long_words=False,
        )
        for name, meaning in meanings.items()
    )  # fmt: skip


def tint(error: float) -> str:
    """The color behind an error, none where there is none."""
    return next((color for least, color in TINTS.items() if error <= least), "")


def _aligned(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells as wide as their columns, the first to the left, the others to the right."""
    title, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [[f"{first:<{title}}", *map(str.rjust, cells, widths)] for first, *cells in lines]


def _any_failed(rows: Sequence[Score]) -> bool:
    return any(row.failed for row in rows)


def _head(rows: Sequence[Score]) -> list[str]:
    return ["failed" if name == "size" and _any_failed(rows) else name for name in HEAD]


def _cells(row: Score, rows: Sequence[Score]) -> list[str]:
    """All but the derivative."""
    failed = str(row.failed or "")
    return [
        _number(row.error_reference), _cosine(row.cosine_reference), _number(row.error_fd),
        failed if _any_failed(rows) else number(row.clear_size), f"{row.zeros:.0%}",
        f"{1e3 * row.seconds:.3g}" if row.seconds < 1 else f"{1e3 * row.seconds:.0f}",
    ]  # fmt: skip


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else NONE


def _cosine(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else NONE


def _shortened(title: str) -> str:
    return title if len(title) <= TITLE else f"{title[: TITLE - 3]}..."
