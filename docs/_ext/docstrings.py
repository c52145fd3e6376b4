"""Sphinx extension: docstrings, which are plain text with equations, as reStructuredText.

Indented blocks of a description become literal blocks, and the letters of equations in sentences
(x*, y_bar', |q|) are escaped. Text in backticks is a cross-reference where something has its name.
Errors that are only named are described by the first line of their own docstring.
"""

from __future__ import annotations

import re
from typing import Any

from cvxlpgd import errors

# sections of numpydoc, below which indentation belongs to entries
SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Notes", "Yields", "Other Parameters")


def escape(text: str) -> str:
    """The text outside of backticks without markup."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else _plain(piece) for piece in pieces)


def _plain(text: str) -> str:
    return re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", re.sub(r"([*|])", r"\\\1", text))


def rewrite(lines: list[str]) -> list[str]:
    """The docstring as reStructuredText, for numpydoc's sections to be read from."""
    result: list[str] = []
    block = section = False
    for i, line in enumerate(lines):
        section = section or (line in SECTIONS and lines[i + 1 : i + 2] == ["-" * len(line)])
        indented = line.startswith("    ")
        if not section and indented and not block and (not result or not result[-1].strip()):
            result += [".. code-block:: text", ""]
            block = True
        elif block and line.strip() and not indented:
            block = False
        result.append(line if block or set(line) == {"-"} else escape(line))
    return result


def describe(lines: list[str]) -> list[str]:
    """The docstring with a line of its own for each error, and what it means."""
    result: list[str] = []
    within = False
    for i, line in enumerate(lines):
        within = lines[i - 2 : i] == ["Raises", "------"] or (within and bool(line.strip()))
        names = line.split(", ") if within and not line.startswith(" ") else []
        plain = not lines[i + 1 : i + 2] or not lines[i + 1].startswith(" ")
        if names and plain and all(name in vars(errors) for name in names):
            for name in names:
                meaning = (vars(errors)[name].__doc__ or "").splitlines()[0]
                result += [name, f"    {meaning}"]
        else:
            result.append(line)
    return result


def process(_: Any, __: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    """Sphinx' event: the lines of one docstring, replaced in place."""
    lines[:] = rewrite(describe(lines))


def setup(app: Any) -> dict[str, Any]:
    """Connect before napoleon, which reads the sections."""
    app.setup_extension("sphinx.ext.autodoc")  # whose event it is
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
