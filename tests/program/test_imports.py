"""The files of cones, program and canonical import each other one way, types and functions too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "cvxlpgd"


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def imported(path: Path, modules: set[str]) -> Iterator[str]:
    """The modules that a file imports, also for its types alone and inside of functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def test_no_file_imports_what_imports_it() -> None:
    folders = ("cones", "program", "canonical")
    paths = [path for folder in folders for path in (PACKAGE / folder).rglob("*.py")]
    modules = {module(path) for path in paths}
    graph = {module(path): set(imported(path, modules)) & modules for path in paths}
    order = list(TopologicalSorter(graph).static_order())  # raises for a cycle
    assert set(order) == modules
