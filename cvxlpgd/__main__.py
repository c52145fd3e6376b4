"""The command line: cvxlpgd compare FILE.py, cvxlpgd solvers [FILE.py], cvxlpgd --version."""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

import cvxlpgd
from cvxlpgd.errors import CvxlpgdError, InvalidInput

DEFINED = ("problem", "parameters", "variables", "values")  # by the file that is executed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 2 for wrong usage."""
    options = _parse(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            if options.command == "compare":
                return _compare(options)
            return _solvers() if options.file is None else _explain(options)
    except CvxlpgdError as error:
        print(f"cvxlpgd: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cvxlpgd", description="Differentiable optimization layers on CVXPY."
    )
    parser.add_argument("--version", action="version", version=f"cvxlpgd {cvxlpgd.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser(
        "compare",
        help="compare derivatives on the problem of a Python file",
        description="Executes FILE, which defines problem, parameters, variables and values, and "
        "may define loss or cotangents, and gp; then compares derivatives. Run only files that "
        "you trust.",
    )
    compare.add_argument("file", type=Path, metavar="FILE")
    compare.add_argument("--tau", type=_positive, nargs="+", help="perturbations to try")
    compare.add_argument("--solver", help="a solver by name")
    compare.add_argument("--plot", type=Path, metavar="PNG", help="draw error against tau")
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")
    solvers = commands.add_parser(
        "solvers",
        help="list the solvers, or say which one a problem gets",
        description="Without FILE: all solvers, installed or not, and what they take. With FILE, "
        "which defines problem, parameters, variables and values: which solver its problem gets, "
        "and why. FILE is executed: run only files that you trust.",
    )
    solvers.add_argument("file", type=Path, metavar="FILE", nargs="?")
    solvers.add_argument("--tune", action="store_true", help="measure the installed ones on it")
    options = parser.parse_args(arguments)
    if options.command == "solvers" and options.tune and options.file is None:
        parser.error("--tune needs a FILE")
    return options


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"cvxlpgd: warning: {message}", file=sys.stderr)


def _compare(options: argparse.Namespace) -> int:
    given = _execute(options.file)
    comparison = cvxlpgd.compare(
        **{name: given[name] for name in DEFINED},
        cotangents=given.get("cotangents"),
        loss=_guard(given.get("loss"), options.file),
        solver=options.solver,
        taus=options.tau,
        gp=bool(given.get("gp", False)),
        progress=sys.stderr.isatty(),
    )
    print(json.dumps(comparison.to_dict()) if options.json else comparison.to_markdown())
    if options.plot is not None:
        try:
            comparison.plot(str(options.plot))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"cannot draw to {options.plot}: {error}") from error
        print(f"picture: {options.plot}", file=sys.stderr)
    return 0


def _execute(file: Path) -> dict[str, Any]:
    """What the file defines."""
    if not file.is_file():
        raise InvalidInput(f"there is no file {file}")
    try:
        given = runpy.run_path(str(file), run_name="cvxlpgd_compare")
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{file} fails: {type(error).__name__}: {error}") from error
    missing = [name for name in DEFINED if name not in given]
    if missing:
        raise InvalidInput(f"{file} does not define {', '.join(missing)}")
    return given


def _guard(loss: Callable[..., Any] | None, file: Path) -> Callable[..., Any] | None:
    """The file's loss, whose own errors name the file."""
    if loss is None:
        return None

    def loss_or_error(*variables: Any) -> Any:
        try:
            return loss(*variables)
        except Exception as error:
            text = f"the loss of {file} fails: {type(error).__name__}: {error}"
            raise InvalidInput(text) from error

    return loss_or_error


def _solvers() -> int:
    from cvxlpgd.solvers.choose.choice import all_solvers

    rows = []
    for solver, own, installed in all_solvers():
        how, cones = (
            "own file" if own else "through CVXPY",
            sorted(c.__name__ for c in solver.cones),
        )
        takes = ["yes" if flag else "" for flag in (solver.quadratic, solver.integer)]
        rows.append([solver.name, "yes" if installed else "no", how, ", ".join(cones), *takes])
    head = ["solver", "installed", "how", "cones", "quadratic", "integer"]
    print(tabulate(rows, headers=head, tablefmt="github"))
    return 0


def _explain(options: argparse.Namespace) -> int:
    """Which solver the problem of a file gets; with --tune, a ranking of the installed ones."""
    from cvxlpgd.analysis.tuning import explanation, table, tune
    from cvxlpgd.layer.layer import Layer

    given = _execute(options.file)
    problem = given["problem"], given["parameters"], given["variables"]
    gp = bool(given.get("gp", False))
    print(explanation(Layer(*problem, gp=gp)))
    if options.tune:
        rows = tune(*problem, given["values"], gp=gp, progress=sys.stderr.isatty())
        print(f"\n{table(rows)}")
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("tau must be > 0 and finite")
    return value


if __name__ == "__main__":
    sys.exit(main())
