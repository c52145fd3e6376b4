"""Code and links of README.md, docs/ and docstrings: blocks run, links lead somewhere."""

from __future__ import annotations

import doctest
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.helpers.outputs import matches

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.exists()]

PACKAGE = ROOT / "cvxlpgd"
EXEMPLIFIED = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"\s*^```output\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTIONAL = ("torch", "jax", "diffcp", "ecos", "matplotlib", "skfolio", "pyepo", "sklearn")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """The anchors that git hosts give to a page's headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


def _needed(blocks: list[str]) -> list[str]:
    """Optional libraries that the blocks name, in an import or in an argument."""
    words = set(re.findall(r"\w+", "\n".join(blocks)))
    named = {"diffcp" if "Implicit" in words else "", "ecos" if "ECOS" in words else ""}
    return [library for library in OPTIONAL if library in words | named]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    """All blocks of a page, in order, in one namespace, in an empty folder, print what it says."""
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python"), "a block that is not found would not run"
    for library in _needed([block[1] for block in blocks]):
        if find_spec(library) is None:
            pytest.skip(f"{_name(page)} uses {library}, which is not installed")
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"blocks_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    outputs = {block.end(): PRINTED.match(text, block.end()) for block in blocks}
    assert len(list(filter(None, outputs.values()))) == text.count("```output")
    for block in blocks:
        before = "\n" * text[: block.start(1)].count("\n")  # tracebacks name the page's line
        code = compile(before + block[1], str(page), "exec", dont_inherit=True)
        capsys.readouterr()
        exec(code, vars(module))
        if output := outputs[block.end()]:
            printed = capsys.readouterr().out
            assert matches(output[1], printed), f"{_name(page)} says\n{output[1]}\nnot\n{printed}"


@pytest.mark.parametrize("name", EXEMPLIFIED)
def test_examples_of_docstrings_run(name):
    """With what they show as printed."""
    module = import_module(name)
    tests = doctest.DocTestFinder().find(module, extraglobs={"np": np})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("x = 0.12", "x = 0.1249", True),
        ("x = 0.12", "x = 0.14", False),
        ("3 of 4 rows", "3  of 4\nrows", True),
        ("3 of 4 rows", "2 of 4 rows", False),
        ("1.2e-08 ... [-1.0]", "1.3e-08 and so on [-1.01]", True),
        ("solved", "failed", False),
    ],
)
def test_outputs_are_compared_as_they_are_shown(expected, printed, same):
    assert matches(expected, printed) == same


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_name(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), f"{_name(page)} links to {link}"
