"""The house: which file may import which, what importing loads, where solvers are named."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cvxlpgd"
FILES = sorted(PACKAGE.rglob("*.py"))

# Imports point from left to right here: a part may import parts of its own rank or lower.
RANKS = {
    "errors": 0,
    "checks": 0,
    "schedules": 0,
    "cones": 1,
    "program": 2,
    "solution": 3,
    "canonical": 3,
    "solvers": 3,
    "derivatives": 4,
    "layer": 5,
    "values": 6,
    "analysis": 6,
    "losses": 6,
    "torch": 7,
    "numpy": 7,
    "__init__": 8,
    "__main__": 9,
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cvxlpgd."):
            found.add(node.module.split(".")[1])
        if isinstance(node, ast.ImportFrom) and node.module == "cvxlpgd":
            names = {alias.name for alias in node.names}
            found |= {name if name in RANKS else "__init__" for name in names}
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {(n[1] if len(n) > 1 else "__init__") for n in names if n[0] == "cvxlpgd"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for other in imported(path):
        assert RANKS[other] <= RANKS[part(path)], f"{path.name} imports {other}"


def test_importing_loads_no_framework_and_no_solver():
    """Nothing beyond what `import cvxpy` loads by itself."""
    code = (
        "import sys, cvxpy; before = set(sys.modules); import cvxlpgd, cvxlpgd.numpy, "
        "cvxlpgd.solvers; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "diffcp", "scs", "clarabel", "ecos", "highspy", "osqp", "matplotlib", "jax"}
    assert not heavy & set(run.stdout.split())


NAMES = {"scs", "clarabel", "ecos", "highs", "osqp", "piqp", "daqp", "moreau", "scip", "mosek"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_solver_is_named_in_its_own_files_only(path):
    """Elsewhere a declared capability is asked for; nothing compares with a solver's name."""
    if part(path) == "solvers":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.lower() not in NAMES, f"{path}: {node.value}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_canonical_knows_the_insides_of_cvxpy(path):
    allowed = {"canonical"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cvxpy."):
            assert part(path) in allowed, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_unpickled_and_no_temporary_file_is_made(path):
    """The library reads no file but the one that the command line names, and guesses no name."""
    never = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "tempfile", "socket"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not never & {alias.name.split(".")[0] for alias in node.names}, path
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in never, path
        if isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            assert word not in {"eval", "exec", "load", "system", "popen"}, path
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "run_path" or part(path) == "__main__", path


def test_optional_libraries_are_extras():
    """Each optional library has an extra of its own."""
    import tomllib

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {"torch", "diffcp", "ecos", "plot", "examples", "test", "docs", "all"}
    assert wanted <= extras.keys()
    for name in ("torch", "diffcp", "ecos", "piqp", "daqp"):
        assert any(requirement.startswith(name) for requirement in extras[name])


def test_nothing_is_skipped_in_silence():
    """Libraries of the test extra are installed, so that no test of theirs is skipped."""
    for module in ("torch", "diffcp", "ecos", "matplotlib", "skfolio"):
        assert find_spec(module) is not None, f"{module} is not installed; its tests would skip"
