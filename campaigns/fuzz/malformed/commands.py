"""Places on the command line."""

from __future__ import annotations

import contextlib
import io
import tempfile
from functools import partial
from pathlib import Path

from cvxlpgd.__main__ import main
from cvxlpgd.errors import CvxlpgdError

from .values import Malformed

GOOD = """
import cvxpy as cp
import numpy as np

x, q = cp.Variable(2), cp.Parameter(2)
problem = cp.Problem(cp.Minimize(q @ x), [x >= 0, cp.sum(x) == 1])
parameters, variables, values = [q], [x], [np.array([1.0, 2.0])]
"""
NAMES = ("problem", "parameters", "variables", "values")
WRONG = ("None", "3", "'text'", "[]", "[None]", "{}", "object()", "[3]", "lambda: 1", "b'bytes'")
OPTIONS = {
    "tau 0": ["--tau", "0"],
    "tau -1": ["--tau", "-1"],
    "tau nan": ["--tau", "nan"],
    "tau inf": ["--tau", "inf"],
    "tau text": ["--tau", "small"],
    "tau nothing": ["--tau"],
    "solver unknown": ["--solver", "NO_SUCH"],
    "solver empty": ["--solver", ""],
    "plot nowhere": ["--plot", "/no/such/folder/out.png"],
    "plot no picture": ["--plot", "out.no_such"],
    "no such option": ["--no-such"],
    "no such number": ["--json=3"],
}


class Said(CvxlpgdError):
    """What the command line said before it ended with an error."""


def ran(*arguments: str) -> None:
    """Run the command line; raises what it says if its status is that of an error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    if status in (1, 2):
        raise Said(said.getvalue())


def of_text(text: str, *options: str, command: str = "compare") -> None:
    """Run a command on a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "given.py"
        file.write_text(text)
        ran(command, str(file), *options)


def commands() -> list[Malformed]:
    """Files and options."""
    missing = {
        "no command": ((), "command"),
        "unknown command": (("no_such",), "no_such"),
        "compare nothing": (("compare",), "FILE"),
        "compare no file": (("compare", "/no/such/file.py"), "no file"),
        "compare a folder": (("compare", "/"), "no file"),
        "solvers no file": (("solvers", "/no/such/file.py"), "no file"),
        "solvers --tune": (("solvers", "--tune"), "FILE"),
    }
    cases = [
        Malformed(f"command line: {name}", lambda v=v: ran(*v), (word,))
        for name, (v, word) in missing.items()
    ]
    texts = {
        "not Python": "this is no Python",
        "raises": "raise ValueError('nothing')",
        "exits": "raise SystemExit(0)",
        "empty": "",
        "no module": "import no_such_module",
    }
    for command, needed in (("compare", NAMES), ("solvers", NAMES[:3])):
        cases += [
            Malformed(f"{command} FILE: {name}", lambda t=t, c=command: of_text(t, command=c),
                      ("given.py",))
            for name, t in texts.items()
        ]  # fmt: skip
        for name in needed:
            text = f"{GOOD}del {name}\n"
            run = partial(of_text, text, command=command)
            cases.append(Malformed(f"{command} FILE without {name}", run, (name,)))
    for name in NAMES:
        for wrong in WRONG:
            text = f"{GOOD}{name} = {wrong}\n"
            cases.append(Malformed(f"compare FILE {name} = {wrong}", lambda t=text: of_text(t),
                                   (name, name[:-1], "parameter", "cotangent")))  # fmt: skip
    for wrong in ("3", "'text'", "lambda: 1", "lambda v: None", "lambda v: 'text'",
                  "lambda v: 1 / 0", "object()"):  # fmt: skip
        text = f"{GOOD}loss = {wrong}\n"
        cases.append(
            Malformed(f"compare FILE loss = {wrong}", lambda t=text: of_text(t), ("loss",))
        )
    for wrong in ("3", "'text'", "[]", "[None]", "[np.ones(3)]", "[np.array(['a', 'b'])]", "{}"):
        text = f"{GOOD}cotangents = {wrong}\n"
        cases.append(Malformed(f"compare FILE cotangents = {wrong}", lambda t=text: of_text(t),
                               ("cotangent",)))  # fmt: skip
    for name, options in OPTIONS.items():
        word = "no-such" if name.startswith("no such option") else options[0].split("=")[0][2:]
        words = (word, options[-1]) if options[-1] else (word,)
        cases.append(Malformed(f"compare --{name}", lambda o=options: of_text(GOOD, *o), words))
    return cases
