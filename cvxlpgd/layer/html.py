"""Tables for notebooks, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

# The colors of a notebook's page show through: it may be light or dark.
_TABLE = "margin:.5em 0;border-collapse:collapse;font-size:90%;color:inherit;background:transparent"
_CELL = "padding:.15em .7em;text-align:left;border:0;border-bottom:1px solid rgba(128,128,128,.3)"


def facts_html(title: str, facts: Mapping[str, str]) -> str:
    """A table of a name and a fact in each line, for notebooks."""
    rows = "".join(
        f'<tr><th style="{_CELL};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(fact)}</td></tr>'
        for name, fact in facts.items()
    )
    return f'<table style="{_TABLE}"><caption style="{_CELL};color:inherit"><b>{escape(title)}' \
           f"</b></caption>{rows}</table>"  # fmt: skip


def table_html(head: Sequence[str], body: Sequence[Sequence[tuple[str, str]]]) -> str:
    """A table for notebooks, of cells (text, tint); a tint is a color of CSS, or empty."""
    top = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in head)
    lines = "".join(
        "<tr>" + "".join(
            f'<td style="{_CELL}{f";background:{tint}" if tint else ""}">{escape(text)}</td>'
            for text, tint in line
        ) + "</tr>"
        for line in body
    )  # fmt: skip
    return f'<table style="{_TABLE}"><tr>{top}</tr>{lines}</table>'
