"""The house: its rooms, which file may import which, what importing loads, who names solvers."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cvxlpgd"
FILES = sorted(PACKAGE.rglob("*.py"))

TOP = """__init__ __main__ _files _kernels _solvers analysis canonical checks cone_programs cones
 derivatives errors jax layer losses numpy program pyepo schedules solution solvers torch unrolled
 values""".split()

# Imports point from left to right here: a part may import parts of its own rank or lower.
RANKS = {
    "errors": 0,
    "checks": 0,
    "schedules": 0,
    "_kernels": 0,
    "cones": 1,
    "program": 2,
    "solution": 3,
    "canonical": 3,
    "cone_programs": 3,
    "solvers": 3,
    "derivatives": 4,
    "layer": 5,
    "values": 6,
    "analysis": 6,
    "losses": 6,
    "torch": 7,
    "numpy": 7,
    "jax": 7,
    "pyepo": 8,
    "unrolled": 8,
    "__init__": 8,
    "_files": 8,
    "_solvers": 8,
    "__main__": 9,
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    """The dotted name of a file of the package; a folder's own is that of its __init__."""
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


MODULES = {module(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, also in functions and for types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cvxlpgd":
            dotted = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in dotted}
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names if a.name.split(".")[0] == "cvxlpgd"}
    return names


def test_the_top_has_these_names_and_no_others():
    """What is not documented is not importable by a public-looking name."""
    names = {path.stem for path in PACKAGE.iterdir() if path.stem != "__pycache__"}
    assert names - {"py"} == set(TOP)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for other in imported(path):
        wing = other.split(".")[1] if "." in other else "__init__"
        assert RANKS[wing] <= RANKS[part(path)], f"{path.name} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_private_modules_are_imported_from_their_own_package_only(path):
    for other in imported(path):
        package, _, name = other.rpartition(".")
        if name.startswith("_") and name != "__main__":
            assert module(path).startswith(package), f"{path} imports {other}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_tests_import_private_modules_of_the_folder_that_they_mirror_only(path):
    for other in imported(path):
        package, _, name = other.rpartition(".")
        if name.startswith("_") and name != "__main__":
            assert path.parent.name == package.rpartition(".")[2], f"{path} imports {other}"


def cycle(graph):
    """The nodes of a cycle of the graph, none where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_imports_have_no_cycle():
    graph = {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}
    assert cycle(graph) == []
    names = sorted(MODULES)
    loop = graph | {names[0]: {names[1]}, names[1]: {names[0]}}
    assert set(cycle(loop)) == set(names[:2])


@pytest.mark.parametrize("folder", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir()))
def test_each_wing_has_tests(folder):
    if folder != "__pycache__":
        assert list((ROOT / "tests" / folder).glob("test_*.py"))


def test_importing_loads_no_framework_and_no_solver():
    """Nothing beyond what `import cvxpy` loads by itself."""
    code = (
        "import sys, cvxpy; before = set(sys.modules); import cvxlpgd, cvxlpgd.numpy, "
        "cvxlpgd.solvers; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "diffcp", "scs", "clarabel", "ecos", "highspy", "osqp", "matplotlib", "jax"}
    assert not heavy & set(run.stdout.split())


PUBLIC = """cvxlpgd cone_programs errors jax losses numpy pyepo schedules solvers torch unrolled
 derivatives""".split()


@pytest.mark.parametrize("name", PUBLIC)
def test_dir_shows_what_is_public(name):
    module = importlib.import_module(name if name == "cvxlpgd" else f"cvxlpgd.{name}")
    shown = dir(module)
    assert set(module.__all__) <= set(shown)
    assert all(getattr(module, each) is not None for each in shown)
    more = {"__version__", *PUBLIC} if name == "cvxlpgd" else set()
    assert set(shown) - set(module.__all__) <= more


def test_public_modules_are_loaded_when_they_are_asked_for():
    code = (
        "import sys, cvxlpgd; dir(cvxlpgd); "
        "assert not {'torch', 'cvxlpgd.torch', 'cvxlpgd.jax'} & set(sys.modules); "
        "print(cvxlpgd.torch.CvxpyLayer.__name__, cvxlpgd.losses.SPOPlus.__name__); cvxlpgd.nothing"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "CvxpyLayer SPOPlus\n"
    assert "AttributeError: module 'cvxlpgd' has no attribute 'nothing'" in run.stderr


VAGUE = {"found", "some", "again", "said", "taken"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_results_and_functions_are_named_for_what_they_are(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.name.strip("_") not in VAGUE, f"{path}: {node.name}"
        if isinstance(node, ast.arg):
            assert node.arg not in VAGUE, f"{path}: {node.arg}"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id not in VAGUE, f"{path}: {node.id}"


NAMES = {
    "scs",
    "clarabel",
    "ecos",
    "highs",
    "osqp",
    "piqp",
    "daqp",
    "moreau",
    "qpth",
    "scip",
    "mosek",
}


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
            writes = node.module == "pickle" and [alias.name for alias in node.names] == ["dumps"]
            assert writes or (node.module or "").split(".")[0] not in never, path
        if isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            assert word not in {"eval", "exec", "load", "system", "popen"}, path
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "run_path" or part(path) == "_files", path


def test_optional_libraries_are_extras():
    """Each optional library has an extra of its own."""
    import tomllib

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {"torch", "diffcp", "ecos", "plot", "examples", "test", "docs", "all"}
    assert wanted <= extras.keys()
    for name in ("torch", "jax", "diffcp", "ecos", "piqp", "daqp"):
        assert any(requirement.startswith(name) for requirement in extras[name])


def test_nothing_is_skipped_in_silence():
    """Libraries of the test extra are installed, so that no test of theirs is skipped."""
    for module in ("torch", "jax", "diffcp", "ecos", "matplotlib", "skfolio"):
        assert find_spec(module) is not None, f"{module} is not installed; its tests would skip"
