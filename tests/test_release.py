"""What a release names in several places is the same in all of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from campaigns import wheel

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_versions_agree():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION


def test_citation_is_complete():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()


def test_a_page_becomes_a_script_with_its_own_line_numbers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nfirst = 1\n```\n\ntext\n\n```python\n1 / 0\n```\n")
    script = wheel.script_of(page)
    assert script.splitlines()[3] == "first = 1"
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile(script, "page.md", "exec"))
    assert raised.traceback[-1].lineno == 9  # counted from 0


def test_a_failing_command_is_an_error_with_its_output():
    with pytest.raises(RuntimeError, match="nothing of that name"):
        wheel.run(["python", "-c", "raise SystemExit('nothing of that name')"])
