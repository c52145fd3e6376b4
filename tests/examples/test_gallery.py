"""The gallery's scripts are short pages of user code. The build of the site runs them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parent.parent.parent / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("[!_]*.py"))
PUBLIC = {
    "cvxlpgd",
    "cvxlpgd.cone_programs",
    "cvxlpgd.errors",
    "cvxlpgd.jax",
    "cvxlpgd.losses",
    "cvxlpgd.numpy",
    "cvxlpgd.schedules",
    "cvxlpgd.solvers",
    "cvxlpgd.torch",
    "cvxlpgd.unrolled",
}
# what docs/extending.md names for those who write a solver
PUBLIC |= {"cvxlpgd.cones", "cvxlpgd.program", "cvxlpgd.solution"}
LIBRARIES = {
    "cvxpy", "jax", "matplotlib", "networkx", "numpy", "scipy", "skfolio", "sklearn", "torch",
}  # fmt: skip
STANDARD = sys.stdlib_module_names - {"ftplib", "http", "os", "socket", "subprocess", "urllib"}


def imported(text):
    """The dotted names of the modules that a script imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def test_there_are_scripts_and_a_header():
    assert len(SCRIPTS) >= 6
    assert (GALLERY / "GALLERY_HEADER.rst").read_text(encoding="utf-8").startswith("Gallery\n===")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_short_and_named_in_lower_case(path):
    assert re.fullmatch(r"[a-z][a-z0-9_]*\.py", path.name)
    assert len(path.read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_begins_with_a_title_and_has_cells_and_a_picture(path):
    text = path.read_text(encoding="utf-8")
    title, rule, *body = ast.get_docstring(ast.parse(text)).splitlines()
    assert len(rule) >= len(title) > 0
    assert set(rule) == {"="}
    assert "**What to see.**" in "\n".join(body)
    assert text.count("\n# %%\n") >= 2
    assert "plt.show()" in text


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_written_as_a_user_would(path):
    """It imports what is public, needs no network and no file of this repository."""
    for name in imported(path.read_text(encoding="utf-8")):
        top = name.split(".")[0]
        assert name in PUBLIC if top == "cvxlpgd" else top in LIBRARIES | STANDARD, name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_downloads_nothing(path):
    assert not re.search(r"https?://|fetch_\w+|download", path.read_text(encoding="utf-8"))


def test_each_script_starts_with_the_gallerys_style_and_torchs_usual_dtype():
    plt, torch = pytest.importorskip("matplotlib.pyplot"), pytest.importorskip("torch")
    from examples.gallery import _style

    with plt.rc_context():
        plt.rcdefaults()
        torch.set_default_dtype(torch.float64)
        before = plt.rcParams["figure.figsize"], plt.rcParams["axes.prop_cycle"]
        _style.use()
        assert torch.get_default_dtype() == torch.float32
        assert (plt.rcParams["figure.figsize"], plt.rcParams["axes.prop_cycle"]) != before
        assert plt.rcParams["savefig.facecolor"] == "white"
