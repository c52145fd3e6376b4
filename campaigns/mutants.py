"""Mutation testing: `python -m campaigns.mutants`, with cosmic-ray installed beside the tests.

A sample of the mutants of the derivatives and of the program's arithmetic, in a copy of the tree;
annotations are not mutated. A mutant survives where no test fails.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TREE = (
    "cvxlpgd", "tests", "benchmarks", "campaigns", "examples", "pyproject.toml", "setup.cfg",
)  # fmt: skip
TESTS = """program derivatives values analysis layer/test_edges.py layer/test_integer.py
layer/test_failures.py layer/test_option_errors.py test_numpy.py test_schedules.py
losses""".split()
SETTINGS = """
[cosmic-ray]
module-path = ["cvxlpgd/derivatives", "cvxlpgd/program"]
timeout = {seconds}
excluded-modules = []
test-command = "{python} -m pytest -n0 -x -q -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
"""
Span = tuple[int, int, int, int]


def annotated(file: Path) -> list[Span]:
    """Where a file's annotations stand: (line, column, last line, last column)."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                ends = part.end_lineno or part.lineno, part.end_col_offset or part.col_offset
                found.append((part.lineno, part.col_offset, *ends))
    return found


def sampled(database: Path, tree: Path, count: int, seed: int) -> int:
    """Keep `count` mutants of the code, drawn with `seed`; return how many there are."""
    with sqlite3.connect(database) as session:
        query = "select job_id, module_path, start_pos_row, start_pos_col from mutation_specs"
        rows = session.execute(query).fetchall()
        spans = {path: annotated(tree / path) for _, path, *_ in rows}
        code = [
            job for job, path, line, column in rows
            if not any((a, b) <= (line, column) < (c, d) for a, b, c, d in spans[path])
        ]  # fmt: skip
        kept = set(random.Random(seed).sample(sorted(code), min(count, len(code))))
        for name in ("mutation_specs", "work_items"):
            gone = [(job,) for job, *_ in rows if job not in kept]
            session.executemany(f"delete from {name} where job_id = ?", gone)
    return len(code)


def main() -> int:
    """Run a sample, print what survived; 1 where anything did."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=400.0, help="the limit of one mutant")
    chosen = parser.parse_args()
    if shutil.which("cosmic-ray") is None:
        parser.error("cosmic-ray is not installed: pip install cosmic-ray")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in TREE:
            whole = (ROOT / name).is_dir()
            (shutil.copytree if whole else shutil.copy)(ROOT / name, tree / name)
        tests = " ".join(f"tests/{name}" for name in TESTS)
        settings = SETTINGS.format(seconds=chosen.seconds, python=sys.executable, tests=tests)
        (tree / "mutants.toml").write_text(settings)
        _run(["cosmic-ray", "init", "mutants.toml", "mutants.sqlite"], tree)
        database = tree / "mutants.sqlite"
        total = sampled(database, tree, chosen.count, chosen.seed)
        _run(["cosmic-ray", "exec", "mutants.toml", "mutants.sqlite"], tree)
        with sqlite3.connect(database) as session:
            results = session.execute("select test_outcome, diff from work_results").fetchall()
    survived = [diff for outcome, diff in results if str(outcome).lower() == "survived"]
    print(*survived, sep="\n\n")
    print(f"{len(results)} of {total} mutants tried, {len(survived)} survived")
    return 1 if survived else 0


def _run(command: list[str], tree: Path) -> None:
    path = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=tree, env=os.environ | path, check=True)


if __name__ == "__main__":
    sys.exit(main())
