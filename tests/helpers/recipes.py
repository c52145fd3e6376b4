"""What docs/extending.md tells its readers to write, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def block(opening: str) -> str:
    """The code block that begins with these words."""
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (text,) = (text for text in blocks if text.startswith(opening))
    return text


def rotated_file() -> str:
    """The file of the rotated second-order cone."""
    return block('"""The rotated')


def rotated(rows: int) -> Any:
    """A rotated second-order cone, which nothing in the library knows."""
    module = ModuleType("rotated")
    exec(compile(rotated_file(), str(PAGE), "exec", dont_inherit=True), vars(module))
    return module.RotatedSOC(rows)
