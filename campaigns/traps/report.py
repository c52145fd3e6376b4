"""The table of the traps, and marked blocks of a page."""

from __future__ import annotations

import re
from typing import Any

from tabulate import tabulate

BLOCK = "traps"
WORDS = {True: "falls in", False: "does not", None: "not tried"}


def table(rows: list[dict[str, Any]]) -> str:
    """A row for each trap: what each peer does, what ours does, which tests hold it."""
    body = []
    for row in rows:
        seen = dict(row["seen"])
        ours = seen.pop("cvxlpgd")
        peers = "<br>".join(
            f"{who} {WORDS[what['fell']]}: {_cell(what['what'])}" for who, what in seen.items()
        )
        held = "<br>".join(f"`{test}`" for test in row["tests"])
        mine = _cell(ours["what"]) if ours["fell"] is False else (
            f"**{WORDS[ours['fell']]}**: {_cell(ours['what'])}")  # fmt: skip
        body.append([row["title"], peers, mine, held])
    head = ["trap", "peers", "cvxlpgd", "held by (tests/)"]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("{", "").replace("}", "")


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
