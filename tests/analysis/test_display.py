"""Comparisons to look at: 80 columns, notebooks, pictures, progress bars."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, Exact, compare
from cvxlpgd.analysis.progress import progress_bar
from cvxlpgd.analysis.words import listed
from cvxlpgd.layer.description import number, spelling
from cvxlpgd.schedules import Relative
from tests import zoo

NAMES = ["quadratic_constrained", "simplex_vertex", "power_cone"]


def of(name: str, **options):
    row = zoo.row_named(name)
    problem, parameters, variables = row.build()
    return compare(problem, parameters, variables, row.inputs(2), gp=row.gp, **options)


@pytest.fixture(scope="module", params=NAMES)
def report(request):
    return of(request.param, taus=[1e-3, 1e-1])


def linear():
    x, cost, amount = cp.Variable(3), cp.Parameter(3, name="cost"), cp.Parameter(name="amount")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == amount, x >= 0])
    return compare(problem, [cost, amount], [x], [np.array([1.0, 2.0, 4.0]), np.array(1.0)])


def test_a_terminal_of_80_columns_is_wide_enough(report):
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(repr(report)) <= 120
    assert "\n" not in repr(report)
    head = next(line for line in lines if line.startswith("derivative"))
    for column in head.split()[1:]:
        assert any(line.startswith(column) for line in lines[lines.index(head) + 1 :]), column
    assert report.verdict.splitlines()[0][:60] in str(report).replace("\n  ", " ")
    assert "nan" not in str(report)


def test_rows_are_called_by_what_they_are(report):
    text = str(report)
    for title in ('LPGD(tau=1e-3, side="lower")', 'LPGD(tau=1e-1, side="upper")', "LPGD()  "):
        assert sum(line.startswith(title) for line in text.splitlines()) == 1


def test_notebooks_show_the_same_on_any_ground(report):
    html = report._repr_html_()
    root = ElementTree.fromstring(html.replace("<br>", "<br/>"))
    assert len(root.findall(".//tr")) == 1 + len(report.rows)
    assert "background:white" not in html
    assert "color:#" not in html


def test_a_failed_sample_has_a_column():
    x, c = cp.Variable(2), cp.Parameter(2)
    problem, down = cp.Problem(cp.Minimize(c @ x), [x >= 0]), -np.ones((3, 2))
    settings = [LPGD(tau=10.0, side="lower"), LPGD(tau=10.0, side="upper")]
    report = compare(problem, [c], [x], [-1e-3 * down], derivatives=settings, cotangents=[down])
    head = next(line for line in str(report).splitlines() if line.startswith("derivative"))
    assert "failed" in head.split()
    assert "size" not in head.split()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (LPGD(), "LPGD()"),
        (LPGD(tau=0.001, side="lower"), 'LPGD(tau=1e-3, side="lower")'),
        (LPGD(tau=1.25, rho=3.0), "LPGD(tau=1.25, rho=3)"),
        (LPGD(tau=Relative(0.1)), "LPGD(tau=Relative(kappa=1e-1))"),
        (LPGD(tau=np.ones(3)), "LPGD(tau=array of shape (3,))"),
        (LPGD(tau="informative"), 'LPGD(tau="informative")'),
        (Exact(), "Exact()"),
    ],
)
def test_derivatives_are_written_as_one_writes_them(value, text):
    assert spelling(value) == text


def test_numbers_are_short():
    values = (0.001, 3.0, -12.34, 9999.0, 0.0, 1.26e-7, 5e22, float("nan"))
    assert [number(v) for v in values] == [
        "1e-3", "3", "-12", "10000", "0", "1.3e-7", "5e22", "nan",
    ]  # fmt: skip


def test_many_names_are_counted():
    assert [listed(list("abcdefgh"[:n])) for n in (1, 2, 3, 8)] == [
        "a", "a and b", "a, b and c", "a, b, c, d, e and 3 more",
    ]  # fmt: skip


def texts(figure):
    return {text.get_text().replace("\n", " ") for axis in figure.axes for text in axis.texts}


def test_pictures(report, tmp_path):
    path = tmp_path / "picture.png"
    figure = report.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle().replace("\n", " ") == report.title
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[-1].get_xlabel() == "tau"
    assert texts(figure) & {"looks further", "agrees with the exact derivative", "zero"}
    assert figure._repr_html_().startswith('<img src="data:image/png;base64,iVBOR')


def test_a_picture_names_its_regions():
    names = texts(of("quadratic_constrained").plot())
    assert {"agrees with the exact derivative", "looks further"} <= names
    assert any(name.startswith("\u2190 noise below") for name in names)
    figure = linear().plot()
    assert len(figure.axes) == 2
    assert {"agrees with the exact derivative", "looks further", "zero"} <= texts(figure)
    assert figure.axes[1].get_ylabel() == "size of the gradient of cost"


def test_bars_are_for_terminals(monkeypatch):
    assert progress_bar("work", None).disable
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert not progress_bar("work", None).disable
    assert progress_bar("work", False).disable
    bar = progress_bar("work", True)
    assert (bar.delay, bar.leave) == (2.0, False)
