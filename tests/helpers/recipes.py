"""What docs/extending.md tells its readers to write, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
COPIED = ("cvxlpgd", "tests", "campaigns", "docs/solvers.md", "pyproject.toml", "setup.cfg")


def blocks(language: str) -> list[str]:
    """The page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


def block(opening: str) -> str:
    """The block of Python that begins with these words."""
    (text,) = (text for text in blocks("python") if text.startswith(opening))
    return text


@dataclass(frozen=True)
class Copy:
    """A copy of the project, to follow a recipe in."""

    root: Path

    @classmethod
    def of(cls, root: Path) -> Copy:
        """A new one in an empty folder."""
        (root / "docs").mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, root / name)
        return cls(root)

    def write(self, opening: str) -> None:
        """The file that a block is, at the place that the page names before it."""
        text, page = block(opening), PAGE.read_text("utf-8")
        before = page[: page.index(f"```python\n{text}")]
        path = re.findall(r"`(cvxlpgd/\w+(?:/\w+)*\.py)`", before)[-1]
        (self.root / path).write_text(text, "utf-8")

    def apply(self, word: str) -> None:
        """The additions of the block that has this word: "+" lines after the line above them."""
        (text,) = (text for text in blocks("diff") if f"+{word}" in text)
        for name, changes in re.findall(r"^--- (.*)\n((?:[ +].*\n)+)", text, re.M):
            path = self.root / name
            content = path.read_text("utf-8")
            for above, added in re.findall(r"^ (.*\n)((?:\+.*\n)+)", changes, re.M):
                assert content.count(f"\n{above}") == 1, f"{name} has not one line {above!r}"
                lines = re.sub(r"^\+", "", added, flags=re.M)
                content = content.replace(f"\n{above}", f"\n{above}{lines}")
            path.write_text(content, "utf-8")

    def run(self, *words: str) -> str:
        """What `python -m` these words prints in the copy; they must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test(self, word: str, *files: str) -> int:
        """How many tests whose names have this word pass; none may fail."""
        words = ("-q", "-n0", "-p", "no:cacheprovider", "-k", word)
        output = self.run("pytest", *words, *files)
        (count,) = re.findall(r"(\d+) passed", output)
        return int(count)


def rotated(rows: int) -> Any:
    """A rotated second-order cone, which nothing in the library knows."""
    module = ModuleType("rotated")
    code = compile(block('"""The rotated'), str(PAGE), "exec", dont_inherit=True)
    exec(code, vars(module))
    return module.RotatedSOC(rows)
