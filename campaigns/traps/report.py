"""The list of the traps, and marked blocks of a page."""

from __future__ import annotations

import re
from typing import Any

BLOCK = "traps"
WORDS = {True: "falls in", False: "does not", None: "not tried"}


def listing(rows: list[dict[str, Any]]) -> str:
    """For each trap what each peer does, what ours does, which tests hold it: lines, which a
    narrow screen breaks as it likes, not the cells of a table.
    """
    return "\n\n".join(map(_trap, rows))


def _trap(row: dict[str, Any]) -> str:
    """The title of a trap, and a list."""
    seen = dict(row["seen"])
    ours = seen.pop("cvxlpgd")
    lines = [f"{who} {WORDS[what['fell']]}: {_plain(what['what'])}" for who, what in seen.items()]
    word = "" if ours["fell"] is False else f" **{WORDS[ours['fell']]}**"
    lines += [f"cvxlpgd{word}: {_plain(ours['what'])}"]
    lines += ["held by " + ", ".join(f"`{test}`" for test in row["tests"])]
    return "\n".join([f"**{row['title']}**", "", *(f"- {line}" for line in lines)])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<$])", r"\\\1", text).replace("{", "").replace("}", "")


def written(page: str, block: str, text: str) -> str:
    """A page with the text between <!-- block --> and <!-- /block --> replaced.

    Raises
    ------
    ValueError
        Where the page has no such block.
    """
    pattern = re.compile(rf"(<!-- {block} -->\n).*?(<!-- /{block} -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no block <!-- {block} --> … <!-- /{block} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page, count=1)
