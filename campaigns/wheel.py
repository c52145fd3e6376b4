"""The built package as a user gets it: `python -m campaigns.wheel`.

A source distribution is built, and a wheel from it. The wheel is installed into an empty
environment, first alone and then with torch, where README's commands for users and the blocks of
docs/five_minutes.md run in an empty folder, warnings as errors. For the other versions of Python
that are supported, wheels of all dependencies must exist. The table says how long each step took
and how large the environment was after it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "five_minutes.md"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = "torch,diffcp,plot,fast"  # of the README's first command
OTHER_PYTHONS = ("3.12", "3.13")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """What one step took.

    Parameters
    ----------
    name : str
    seconds : float
    megabytes : float or None
        Size of the environment's packages after it.
    """

    name: str
    seconds: float
    megabytes: float | None


@dataclass
class Check:
    """The steps so far, in a folder of their own.

    Parameters
    ----------
    folder : Path
    steps : list of Step
    """

    folder: Path
    steps: list[Step] = field(default_factory=list)

    @property
    def python(self) -> Path:
        """The interpreter of the empty environment."""
        return self.folder / "venv" / "bin" / "python"

    def step(self, name: str, act: Callable[[], object]) -> None:
        """Do it, and note its time and the environment's size."""
        print(f"{name} ...", file=sys.stderr)
        begin = perf_counter()
        act()
        seconds = perf_counter() - begin
        packages = list(self.folder.glob("venv/lib/python*/site-packages"))
        sizes = [_megabytes(path) for path in packages]
        self.steps.append(Step(name, seconds, sizes[0] if sizes else None))

    def pip(self, *arguments: str) -> str:
        """What pip prints in the environment."""
        return run([self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def run(command: list[object], cwd: Path | None = None) -> str:
    """What a command prints; without the checkout on its path.

    Raises
    ------
    RuntimeError
        With the end of its output where it fails.
    """
    free = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=free, capture_output=True, text=True, check=False)
    if done.returncode:
        end = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{end}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """A source distribution, and the wheel that is built from it."""
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def check_contents(source: Path, wheel: Path) -> None:
    """Nothing but the package is in the wheel, and the licence is in both.

    Raises
    ------
    RuntimeError
    """
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    with tarfile.open(source) as archive:
        packed = archive.getnames()
    tops = {name.split("/")[0] for name in inside}
    info = wheel.name.replace("-py3-none-any.whl", ".dist-info")
    if tops != {"cvxlpgd", info}:
        raise RuntimeError(f"the wheel holds {sorted(tops)}")
    for names, wanted in ((inside, ("py.typed", "LICENSE", "METADATA")),
                          (packed, ("LICENSE", "README.md", "pyproject.toml"))):  # fmt: skip
        missing = [word for word in wanted if not any(name.endswith(word) for name in names)]
        if missing:
            raise RuntimeError(f"{', '.join(missing)} left out of {names[0].split('/')[0]}")


def script_of(page: Path) -> str:
    """All Python blocks of a page as one script, each line where the page has it."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        start = text[: block.start(1)].count("\n")
        code = block[1].splitlines()
        lines[start : start + len(code)] = code
    return "\n".join(lines) + "\n"


def check(folder: Path) -> list[Step]:
    """All steps, in order.

    Raises
    ------
    RuntimeError
        At the first one that fails.
    """
    doing, built, empty = Check(folder), folder / "dist", folder / "empty"
    built.mkdir()
    empty.mkdir()
    doing.step("build sdist and wheel", lambda: build(built))
    (source,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    check_contents(source, wheel)
    doing.step("empty environment", lambda: venv.create(folder / "venv", with_pip=True))
    doing.step(
        "install the wheel", lambda: doing.pip("install", "-c", str(CONSTRAINTS), str(wheel))
    )
    command = folder / "venv" / "bin" / "cvxlpgd"
    doing.step("cvxlpgd solvers", lambda: run([command, "solvers"], empty))
    torch = next(line for line in CONSTRAINTS.read_text().splitlines() if line[:7] == "torch==")
    doing.step("install torch", lambda: doing.pip("install", torch))
    extras = f"{wheel}[{EXTRAS}]"
    doing.step(f"install [{EXTRAS}]", lambda: doing.pip("install", "-c", str(CONSTRAINTS), extras))
    script = empty / "five_minutes.py"
    script.write_text(script_of(PAGE), encoding="utf-8")
    doing.step("docs/five_minutes.md", lambda: run([doing.python, "-W", "error", script], empty))
    again = ("install", "--no-deps", "--force-reinstall", str(source))
    doing.step("install the sdist", lambda: doing.pip(*again))
    doing.step("cvxlpgd --version", lambda: run([command, "--version"], empty))
    installed = folder / "installed.txt"
    installed.write_text(doing.pip("freeze", "--exclude", "cvxlpgd").replace("+cpu", ""))
    other = ("install", "--dry-run", "--no-deps", "--only-binary=:all:", "--target", "other")
    for version in OTHER_PYTHONS:
        wanted = (*other, "--python-version", version, "-r", str(installed))
        doing.step(f"wheels for Python {version}", partial(doing.pip, *wanted))
    return doing.steps


def table(steps: list[Step]) -> str:
    """A row for each step."""
    head = ["step", "seconds", "packages (MB)"]
    body = [
        [s.name, f"{s.seconds:.0f}", "" if s.megabytes is None else f"{s.megabytes:.0f}"]
        for s in steps
    ]
    return tabulate(body, headers=head, tablefmt="github", disable_numparse=True)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def main() -> int:
    """Run all steps and print the table; 1 where one fails."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.wheel", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            steps = check(Path(folder))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    print(json.dumps([asdict(step) for step in steps]) if chosen.json else table(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
