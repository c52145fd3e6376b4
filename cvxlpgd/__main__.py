"""The command line: cvxlpgd compare FILE.py, cvxlpgd solvers [FILE.py], cvxlpgd --version."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cvxlpgd
from cvxlpgd import _solvers
from cvxlpgd._files import DEFINED, beside, execute, guard
from cvxlpgd.analysis.plots import check_picture
from cvxlpgd.analysis.tuning import tune
from cvxlpgd.errors import CvxlpgdError, InvalidInput
from cvxlpgd.layer import compile_layer

_EXECUTED = "It is executed: run only files that you trust."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 2 for wrong usage."""
    options = _parse(arguments)
    try:
        with warnings.catch_warnings(), beside(options.file):
            warnings.showwarning = _print_warning
            text = _compare(options) if options.command == "compare" else _list_solvers(options)
        print(text, flush=True)
    except CvxlpgdError as error:
        print(f"cvxlpgd: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as in `cvxlpgd solvers | head`: the reader has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cvxlpgd", description="Differentiable optimization layers on CVXPY."
    )
    parser.add_argument("--version", action="version", version=f"cvxlpgd {cvxlpgd.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser(
        "compare",
        help="compare derivatives on the problem of a Python file",
        description="Compares derivatives of one loss of a problem's solution: how far each is "
        "from the exact one and from finite differences, how long it takes, how often it is zero.",
    )
    compare.add_argument(
        "file", type=Path, metavar="FILE",
        help="a Python file that defines problem, parameters, variables and values (a list of "
        "arrays, one for each parameter, with any batch axes), and may define loss (a function of "
        f"the variables) or cotangents, and gp. {_EXECUTED}",
    )  # fmt: skip
    compare.add_argument(
        "--tau", type=_positive, nargs="+", help="values of tau for LPGD (default: seven decades "
        "around the automatic one)",
    )  # fmt: skip
    compare.add_argument(
        "--solver", help="a solver by name (default: what `cvxlpgd solvers FILE` says)"
    )
    compare.add_argument(
        "--plot", type=Path, metavar="PICTURE", help="draw error against tau to this file, such as "
        "out.png, .pdf or .svg (default: no picture)",
    )  # fmt: skip
    solvers = commands.add_parser(
        "solvers",
        help="list the solvers, or say which one a problem gets",
        description="Without FILE: the solvers, what they take and their options. With FILE: which "
        "solver its problem gets, and why.",
    )
    solvers.add_argument(
        "file", type=Path, metavar="FILE", nargs="?",
        help="a Python file that defines problem, parameters and variables, with --tune values "
        f"too, and may define gp. {_EXECUTED}",
    )  # fmt: skip
    solvers.add_argument(
        "--tune", action="store_true", help="measure times and errors of all installed solvers on "
        "the problem of FILE (default: only say which one is chosen)",
    )  # fmt: skip
    for command in (compare, solvers):
        command.add_argument(
            "--json", action="store_true", help="print JSON (default: a readable table)"
        )
    options = parser.parse_args(arguments)
    if options.command == "solvers" and options.tune and options.file is None:
        solvers.error("--tune needs a FILE")
    return options


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"cvxlpgd: warning: {message}", file=sys.stderr)


def _compare(options: argparse.Namespace) -> str:
    """The comparison of a file's problem as text; draws the picture."""
    if options.plot is not None:
        check_picture(options.plot)
    given = execute(options.file, list(DEFINED))
    comparison = cvxlpgd.compare(
        **{name: given[name] for name in DEFINED},
        cotangents=given.get("cotangents"),
        loss=guard(given.get("loss"), options.file),
        solver=options.solver,
        taus=options.tau,
        gp=bool(given.get("gp", False)),
    )
    if options.plot is not None:
        try:
            comparison.plot(str(options.plot))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"cannot draw to {options.plot}: {error}") from error
        print(f"picture: {options.plot}", file=sys.stderr)
    return json.dumps(comparison.to_dict()) if options.json else str(comparison)


def _list_solvers(options: argparse.Namespace) -> str:
    """All solvers; with a file, which one its problem gets, and with --tune how all do."""
    if options.file is None:
        rows = _solvers.rows()
        return json.dumps(rows) if options.json else _solvers.table(rows)
    names = list(DEFINED) if options.tune else [name for name in DEFINED if name != "values"]
    given = execute(options.file, names)
    problem = given["problem"], given["parameters"], given["variables"]
    gp, timings = bool(given.get("gp", False)), None
    layer = compile_layer(*problem, gp=gp)
    if options.tune:
        timings = tune(*problem, given["values"], gp=gp)
    if options.json:
        more = {} if timings is None else {"timings": _solvers.plain(timings)}
        return json.dumps(_solvers.choice(layer) | more)
    parts = [_solvers.explain(layer), *([] if timings is None else [_solvers.ranking(timings)])]
    return "\n\n".join(parts)


def _positive(text: str) -> float:
    """A value of tau; all that follows --tau is taken for one, a FILE too."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"tau must be a number > 0, not {text!r}; FILE stands before --tau"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
