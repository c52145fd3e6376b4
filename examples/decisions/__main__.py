"""PyEPO's benchmark whole: which method decides best, and what it costs, in both packages.

Five tasks by PyEPO's generators: shortest paths on a 5x5 grid, knapsacks of 32 items with one and
two capacities, tours through 10 nodes, portfolios of 50 assets. Costs are polynomials of degree 1,
4 and 6 of five features, with noise 0 and 0.5, and a linear predictor learns them from 100 or 1000
samples. All methods of both packages get the same data, optimal decisions, initial weights and
batches (Adam, batches of 32). Validation data choose between two learning rates, and the step at
which the training is stopped; the same evaluation judges both packages. Costs are in units of their
mean size. Of a portfolio, noise scales the covariance as well: 0 stands for PyEPO's noise level of
0.1, as there is no covariance at 0, and 0.5 for its usual one, 1.

PyEPO runs in a process of its own, on a Python that --pyepo-python names, of an environment with
the packages of benchmarks/constraints-pyepo.txt. Without it PyEPO's methods are left out. There are
two sets of rows, --solver same, where both packages solve by Gurobi, and --solver default, where
each takes what it takes by itself: PyEPO Gurobi, or OR-Tools where there is none, and this package
what its rules choose. PyEPO's runs of the first set count for the second one as well. The licence
that comes with gurobipy is limited in size, which is enough here, and expires: a newer gurobipy
brings a newer one.

Results are saved after every run, and runs that a file has are not repeated. Two processes share
the work, each with a file of its own:

    taskset -c 0 python -m examples.decisions --side ours --json ours.json
    taskset -c 1 python -m examples.decisions --side theirs --pyepo-python PYTHON --json theirs.json
    python -m examples.decisions --from ours.json theirs.json --plot decisions.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from examples import _experiment
from examples.decisions import plan, runs
from examples.decisions.methods import EXTRA, METHODS, SIDES
from examples.decisions.picture import picture
from examples.decisions.report import REGRETS, table
from examples.decisions.tasks import PORTFOLIO_NOISE, TASKS, TRAIN

QUICK_METHODS = "two_stage,spo_plus,dbb,lpgd"
QUICK = {
    "methods": QUICK_METHODS, "degrees": "4", "noise": "0.5", "train": "100", "seeds": 1,
    "shorter": 12, "rates": "0.1", "validation": 50, "test": 100, "solver": "default",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    words = argparse.ArgumentParser(
        prog="python -m examples.decisions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names: list[tuple[str, Any, Any, str]] = [
        ("tasks", TASKS, partial(plan.names_of, known=TASKS, what="task"), "all"),
        ("methods", tuple(METHODS), _methods, f"all; also {', '.join(EXTRA)}"),
        ("degrees", None, _numbers(int, plan.DEGREES), _listed(plan.DEGREES)),
        ("noise", None, _numbers(float, PORTFOLIO_NOISE), _listed(PORTFOLIO_NOISE)),
        ("train", None, _numbers(int, range(1, TRAIN + 1)), _listed(plan.TRAIN)),
        ("rates", plan.RATES, _numbers(float, None), _listed(plan.RATES)),
    ]
    for name, usual, kind, default in names:
        words.add_argument(
            f"--{name}", type=kind, default=usual, help=f"comma-separated (default: {default})"
        )
    for name, meaning in (
        ("seeds", "how many, from --seed on"),
        ("samples", "samples of perturbed methods"),
        ("test", "test samples"),
    ):
        of = ", ".join(f"{getattr(p, name)} {task}" for task, p in plan.PLANS.items())
        words.add_argument(
            f"--{name}", type=_experiment.positive, help=f"{meaning} (default: {of})"
        )
    steps = ", ".join(f"{p.steps} {task}" for task, p in plan.PLANS.items())
    words.add_argument(
        "--shorter", type=_experiment.positive, default=1, metavar="K",
        help=f"divide the gradient steps by K; they are {steps} (default: %(default)s)",
    )  # fmt: skip
    words.add_argument(
        "--everything", action="store_true",
        help="each method with both solvers in all cells, which takes five times as long",
    )  # fmt: skip
    words.add_argument(
        "--regret", choices=tuple(REGRETS), default="test",
        help="the samples that the table's regrets are of (default: %(default)s)",
    )  # fmt: skip
    words.add_argument("--seed", type=int, default=0, help="the first seed (default: %(default)s)")
    words.add_argument(
        "--validation", type=_experiment.positive, default=100,
        help="validation samples (default: %(default)s)",
    )  # fmt: skip
    for name, known in (("side", SIDES), ("solver", plan.SOLVERS)):
        words.add_argument(
            f"--{name}", choices=(*known, "both"), default="both", help="(default: %(default)s)"
        )
    words.add_argument(
        "--pyepo-python", metavar="PYTHON", help="the Python that runs PyEPO (default: none)"
    )
    small = " ".join(f"--{name} {value}" for name, value in QUICK.items())
    words.add_argument(
        "--quick", action="store_true", help="all tasks by some methods in at most two minutes on "
        f"two cores; the same as {small}, each of which you may set otherwise",
    )  # fmt: skip
    _experiment.add_files(words)
    words.set_defaults(small=QUICK)
    return words


def main() -> int:
    """The command line."""
    words = parser()
    options = _experiment.parse(words)
    if options.seed < 0:
        words.error("the first seed must be 0 or more")
    options.sides, options.solvers = plan.sides_of(options.side), plan.solvers_of(options.solver)
    absent = [] if options.old else _leave_out(options)
    if not options.sides or not options.solvers:
        words.error(f"nothing is left to run: {'; '.join(absent)}")
    try:
        if options.old:
            results = runs.merged(options.old)
            if options.json is not None:
                _experiment.write(runs.condensed(results), options.json)
            results = plan.selected(results, options)
        else:
            results = runs.everything(options)
        present = [t for t in options.tasks if any(run["task"] == t for run in results["runs"])]
        for why, names in plan.absences(options, present).items():
            absent.append(f"{', '.join(names)}: {why}")
        print(table({**results, "absent": [*results["absent"], *absent]}, options.regret))
        if options.plot is not None:
            picture(results, options.plot)
            print(f"picture: {options.plot}", file=sys.stderr)
    except (ImportError, KeyError, OSError, ValueError) as error:
        words.exit(1, f"{words.prog}: {error or type(error).__name__}\n")
    return 0


def _leave_out(options: argparse.Namespace) -> list[str]:
    """Drop what cannot run here from the options; what, and why."""
    lines = []
    if "theirs" in options.sides and options.pyepo_python is None:
        named = [plan.described(m).theirs for m in options.methods if plan.described(m).theirs]
        lines.append(f"without --pyepo-python, PyEPO's {', '.join(named)}")
        options.sides = tuple(side for side in options.sides if side == "ours")
    if "same" in options.solvers and "ours" in options.sides and find_spec("gurobipy") is None:
        lines.append("--solver same: gurobipy is not installed")
        options.solvers = tuple(name for name in options.solvers if name == "default")
    return lines


def _methods(text: str) -> tuple[str, ...]:
    return plan.names_of(text, (*METHODS, *EXTRA), "method")


def _numbers(kind: Callable[[str], Any], known: Any) -> Callable[[str], tuple[Any, ...]]:
    """Comma-separated numbers, of those known."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a list of numbers") from None
        wrong = [v for v in values if (v not in known if known is not None else not v > 0)]
        if wrong:
            there = "positive numbers" if known is None else _listed(known)
            raise argparse.ArgumentTypeError(f"no {_listed(wrong)}; there are {there}")
        return values

    return read


def _listed(values: Any) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}"
    return ",".join(f"{value:g}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
