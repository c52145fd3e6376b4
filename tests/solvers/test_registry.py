"""The registry: a row is all that a solver needs to be found, asked, installed and documented."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import cvxlpgd.solvers
from cvxlpgd.errors import UnsuitableSolver
from cvxlpgd.solvers import Clarabel, Solver
from cvxlpgd.solvers.choose.choice import all_solvers, choose_solver, solver_of_name
from cvxlpgd.solvers.protocol import is_solver
from cvxlpgd.solvers.registry import SOLVERS, SolverRow
from tests.helpers.programs import dense, orthant

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINEAR, ALL = {"Zero", "NonNeg"}, {"Zero", "NonNeg", "SOC", "PSD", "Exp", "Pow"}
WORDS = {  # of the table of docs/solvers.md, and the cones that they stand for
    "equalities": {"Zero"}, "linear rows": LINEAR, "linear rows, integers": LINEAR, "all": ALL,
    "linear rows, second-order, integers": LINEAR | {"SOC"},
    "all but semidefinite and power": ALL - {"PSD", "Pow"},
}  # fmt: skip

every_row = pytest.mark.parametrize(("name", "row"), SOLVERS.items(), ids=SOLVERS)


def installed_by(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


@every_row
def test_a_row_declares_a_public_solver(name: str, row: SolverRow) -> None:
    solver = row.adapter()
    assert is_solver(solver)
    assert solver_of_name(name.lower()) == solver
    assert getattr(cvxlpgd.solvers, type(solver).__name__) is row.adapter
    assert (solver, True) in [(one, own) for one, own, _ in all_solvers()]
    if row.refined is not None:
        assert row.refined().name == name


@every_row
def test_an_extra_installs_what_a_solver_requires(name: str, row: SolverRow) -> None:
    if row.on_demand and row.extra is None:
        return  # users install it by hand
    extras = PROJECT["optional-dependencies"]
    requirements = PROJECT["dependencies"] if row.extra is None else extras[row.extra]
    assert set(row.adapter().requires) <= installed_by(requirements)


def documented() -> dict[str, list[str]]:
    """The cells of the table of solvers in docs/solvers.md, by the solver's name in capitals."""
    text = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8")
    table = text.partition("\n| solver | cones |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {re.split(r"[ ,]", cells[0])[0].upper(): cells[1:] for cells in rows}


def test_the_documentation_has_every_solver_and_no_other() -> None:
    through_cvxpy = {name for name, cells in documented().items() if "CVXPY" in cells[0]}
    assert through_cvxpy == {"MOSEK"}
    assert documented().keys() - through_cvxpy == SOLVERS.keys()


@every_row
def test_the_documentation_says_what_a_row_declares(name: str, row: SolverRow) -> None:
    cones, quadratic, extra = documented()[name]
    solver = row.adapter()
    assert WORDS[cones] == {cone.__name__ for cone in solver.cones}
    assert ("integers" in cones) == bool(solver.integer)
    assert bool(re.search(r"\w", quadratic)) == solver.quadratic
    assert (f"`{row.extra}`" in extra) if row.extra else not extra


@dataclass(frozen=True)
class Axis:
    """The cone {0} by another name, that no solver of the library takes."""

    rows: int
    interior = None
    symmetric = False

    def project(self, v: np.ndarray) -> np.ndarray:
        return v * 0.0

    def derivative(self, v: np.ndarray) -> np.ndarray:
        return v * 0.0


class Newcomer(Clarabel):
    """A solver of a cone of its own."""

    name = "NEWCOMER"
    cones = frozenset({Axis})


def test_a_new_row_is_found_and_asked_where_no_rule_has_a_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    structure = dense(np.ones((1, 1)), np.ones((1, 1, 1)), np.ones((1, 1)), (Axis(1),)).structure
    with pytest.raises(UnsuitableSolver, match="cones Axis"):
        choose_solver(None, structure, {})
    monkeypatch.setitem(SOLVERS, "NEWCOMER", SolverRow(Newcomer))
    new: Solver = Newcomer()
    assert solver_of_name("Newcomer") == new
    assert choose_solver(None, structure, {}) == new
    assert choose_solver(None, structure, {"max_iter": 9}) == Newcomer(max_iter=9)
    usual = orthant([[1, 0]], [[4, 1, 1]], quadratic=True).structure
    assert "NEWCOMER" not in repr(choose_solver(None, usual, {}))
