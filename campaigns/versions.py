"""Run the tests on other versions: `python -m campaigns.versions`, an environment for each.

With `--renew` nothing is run: constraints.txt becomes the newest versions, torch as it is.

Each is made in a temporary folder, with torch first (a bare requirement of another package would
bring its largest build), and removed again. What is not pinned below is as in constraints.txt.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from tabulate import tabulate
from tqdm import tqdm

from campaigns.traps.report import written

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
PROJECT = ROOT / "pyproject.toml"
NEWEST, OLDEST = ROOT / "constraints.txt", ROOT / "constraints-oldest.txt"
FREED = ("cvxpy", "cvxpy-base", "sparsediffpy")  # CVXPY's own, which each of its versions picks
PINNED = "test,numba"  # of NEWEST; numba asks for a NumPy that is not the newest at times
# what the oldest versions are without: libraries of the examples, which ask for newer ones
REDUCED = "torch,jax,diffcp,plot,ecos,fast,osqp"
EXAMPLES_ONLY = ("examples", "losses", "pyepo", "test_docs.py", "test_house.py")
TOOLS = ("pytest", "pytest-xdist", "psutil")


@dataclass(frozen=True)
class Environment:
    """Versions to test.

    Parameters
    ----------
    name : str
    constraints : str
        The text of a constraints file; empty: the newest that pip finds.
    extras : str
        Of this package.
    without : tuple of str
        Test files that it cannot run.
    torch : str
        What to install first; empty: the newest one that is tested.
    """

    name: str
    constraints: str
    extras: str = "test"
    without: tuple[str, ...] = ()
    torch: str = ""


@dataclass(frozen=True)
class Ran:
    """What the tests said."""

    name: str
    versions: dict[str, str]
    passed: int
    failed: int
    skipped: int
    seconds: float
    failures: list[str]


def environments() -> dict[str, Environment]:
    """All of them by name."""
    newest = NEWEST.read_text()
    lines = [line for line in newest.splitlines() if line.split("==")[0] not in FREED]
    found = [Environment("newest", newest, PINNED)]
    for minor in ("1.9.2", "1.9.1", "1.9.0"):
        # both install the same files: of other versions, the later one would win
        both = [f"cvxpy=={minor}", f"cvxpy-base=={minor}"]
        found.append(Environment(f"CVXPY {minor}", "\n".join(lines + both)))
    found.append(Environment("oldest", OLDEST.read_text(), REDUCED, EXAMPLES_ONLY))
    # 4 GB on Linux, where its only build comes with a GPU's libraries
    (least,) = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["torch"]
    pin = least.replace(">=", "==")
    found.append(Environment("oldest torch", OLDEST.read_text(), REDUCED, EXAMPLES_ONLY, pin))
    found.append(Environment("unpinned", _pin(newest, "torch")))
    return {environment.name: environment for environment in found}


def _pin(constraints: str, name: str) -> str:
    return next(line for line in constraints.splitlines() if line.startswith(f"{name}=="))


def run(environment: Environment, folder: Path, tests: list[str]) -> Ran:
    """Make the environment and run the tests in it.

    Raises
    ------
    RuntimeError
        Where it cannot be installed: the versions do not go together.
    """
    begin = perf_counter()
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    file = folder / "constraints.txt"
    file.write_text(environment.constraints + "\n")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _done([*install, environment.torch or _pin(NEWEST.read_text(), "torch")])
    _done([*install, "-c", str(file), "-e", f"{ROOT}[{environment.extras}]", *TOOLS])
    ignored = [f"--ignore=tests/{name}" for name in environment.without]
    tested = subprocess.run(
        [python, "-m", "pytest", "-q", *ignored, *tests],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = {word: int(count) for count, word in
              re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", tested.stdout)}  # fmt: skip
    if not counts:
        raise RuntimeError(f"no test ran: {(tested.stdout + tested.stderr)[-500:]}")
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", tested.stdout, re.MULTILINE)
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    if tested.returncode and not failed:
        raise RuntimeError(f"pytest ended with {tested.returncode}: {tested.stdout[-500:]}")
    if failed:
        print(tested.stdout[-8000:], file=sys.stderr)
    return Ran(environment.name, _versions(python), counts.get("passed", 0), failed,
               counts.get("skipped", 0), perf_counter() - begin, failures)  # fmt: skip


def _done(command: list[str]) -> None:
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{' '.join(command[-3:])}: {made.stderr[-500:]}")


def _versions(python: str) -> dict[str, str]:
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {package["name"]: package["version"] for package in listed}


def renewed(folder: Path) -> str:
    """The text of constraints.txt with the newest versions."""
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    file = folder / "constraints.txt"
    pin = _pin(NEWEST.read_text(), "torch")
    file.write_text(pin + "\n")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _done([*install, pin])
    _done([*install, "-c", str(file), f"{ROOT}[{PINNED}]"])
    versions = _versions(python)
    names = sorted(versions.keys() - {"cvxlpgd", "pip", "setuptools"}, key=str.lower)
    # of a build's own suffix, such as +cpu, other machines know nothing
    lines = [f"{name}=={versions[name].partition('+')[0]}" for name in names]
    return "\n".join([NEWEST.read_text().splitlines()[0], *lines]) + "\n"


def table(rows: list[Ran]) -> str:
    """A row for each environment."""
    shown = "cvxpy numpy scipy torch diffcp scs clarabel highspy osqp piqp daqp".split()
    body = [
        [row.name, *(row.versions.get(name, "-") for name in shown), row.passed, row.failed,
         row.skipped, ", ".join(row.failures) or "none"]
        for row in rows
    ]  # fmt: skip
    head = ["environment", *shown, "passed", "failed", "skipped", "failures"]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def main() -> int:
    """Run them, print the table, write the JSON; 1 where a test fails."""
    known = environments()
    parser = argparse.ArgumentParser(prog="python -m campaigns.versions", description=__doc__)
    parser.add_argument("--only", action="append", choices=known, help="all without")
    parser.add_argument("--tests", nargs="+", default=[], help="test files; all without")
    parser.add_argument("--json", type=Path, default=Path("versions.json"))
    parser.add_argument("--docs", action="store_true", help="write the table into its page")
    parser.add_argument("--renew", action="store_true", help="write constraints.txt, run nothing")
    chosen = parser.parse_args()
    if chosen.renew:
        with tempfile.TemporaryDirectory() as folder:
            NEWEST.write_text(renewed(Path(folder)))
        return 0
    rows = []
    for name in tqdm(chosen.only or list(known), desc="versions", unit="environment"):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(known[name], Path(folder), chosen.tests))
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table(rows))
    if chosen.docs:
        PAGE.write_text(written(PAGE.read_text(), "versions", table(rows)))
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
