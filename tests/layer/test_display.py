"""Layers and records to look at: a line in a terminal, a table in a notebook."""

from __future__ import annotations

from xml.etree import ElementTree

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD
from cvxlpgd.errors import FailedSampleWarning
from cvxlpgd.layer.description import kind_of, named_shapes
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.torch import CvxpyLayer as TorchLayer
from tests import zoo


def linear(kind=CvxpyLayer, **options):
    x, cost, b = cp.Variable(4, name="x"), cp.Parameter(4, name="cost"), cp.Parameter(name="b")
    problem = cp.Problem(cp.Minimize(cost @ x), [cp.sum(x) == b, x >= 0, x <= 0.6])
    return kind(problem, [cost, b], [x], **options)


def facts(html: str) -> dict[str, str]:
    """The lines of a table, by their names."""
    rows = ElementTree.fromstring(html).findall("tr")
    return {row[0].text or "": row[1].text or "" for row in rows}


@pytest.mark.parametrize("kind", [CvxpyLayer, TorchLayer])
def test_a_layer_is_a_line(kind):
    expected = "CvxpyLayer(cost (4,), b () -> x (4,); linear program, solver=DAQP, LPGD())"
    assert repr(linear(kind)) == expected
    other = linear(kind, derivative=LPGD(tau=0.5, side="lower"), solver="HIGHS")
    assert repr(other).endswith('solver=HIGHS, LPGD(tau=5e-1, side="lower"))')


@pytest.mark.parametrize("kind", [CvxpyLayer, TorchLayer])
def test_a_layer_is_a_table_in_a_notebook(kind):
    shown = facts(linear(kind)._repr_html_())
    assert shown["problem"] == "linear program"
    assert shown["parameters"] == "cost (4,), b ()"
    assert shown["variables"] == "x (4,)"
    sizes = "4 variables, 9 rows (1 zero, 8 nonnegative), 12 entries in A, 0 in P"
    assert shown["cone program"] == sizes
    assert shown["solver"].startswith("DAQP, chosen for this structure and size; then HIGHS")
    assert shown["a failed sample"] == "raises SolveFailed"
    asked = facts(linear(kind, solver="HIGHS", on_failure="nan")._repr_html_())
    assert (asked["solver"], asked["a failed sample"]) == ("HIGHS, as asked", "is NaN")


def test_a_record_tells_of_its_gradient():
    layer = linear(on_failure="nan")
    costs, amounts = np.array([[1.0, 2, 3, 4], [2, 1, 4, 3]]), np.array([1.0, 9.0])
    with pytest.warns(FailedSampleWarning):
        _, pullback = layer.vjp(costs, amounts)
    assert repr(layer.info).startswith("Record(DAQP: 1 infeasible, 1 solved; KKT residual <= ")
    assert "gradient" not in repr(layer.info)
    before = facts(layer.info._repr_html_())
    assert before["status"] == "1 infeasible, 1 solved"
    assert before["solved by"] == "DAQP"
    assert before["objective"] == "1.4"
    assert "gradient" not in before
    pullback([1.0, 0.0, 0.0, -1.0])
    after = facts(layer.info._repr_html_())
    assert after["gradient"] == "in closed form and by differences"
    assert after["perturbation"] == "tau 2.5"
    assert repr(layer.info).endswith("gradient: in closed form and by differences, tau 2.5)")


def test_the_worst_residual_is_of_usable_samples():
    layer = linear(on_failure="nan")
    with pytest.warns(FailedSampleWarning):
        layer(np.ones(4), np.array([1.0, 9.0]))
    assert float(repr(layer.info).split("<= ")[1].split(")")[0]) < 1e-8


def test_a_limit_has_an_error_bar():
    x, wish = cp.Variable(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [x >= 0]), [wish], [x])
    layer.vjp([1.0, -1.0])[1]([1.0, 1.0])
    assert "gradient: in closed form, limit tau -> 0, error <= " in repr(layer.info)


def test_several_solvers_are_counted():
    x, cost = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cost @ x + cp.sum_squares(x)), [cp.sum(x) == 1])
    layer = CvxpyLayer(problem, [cost], [x], solver="DAQP", fallback="CLARABEL")
    layer(np.ones((3, 2)))
    assert layer.info.solved_by == "DAQP"
    names = np.array(["DAQP", "CLARABEL", "DAQP"], dtype=object)
    mixed = type(layer.info).of("DAQP", layer.info.bare.change(solvers=names), np.zeros(3), (3,))
    assert mixed.solved_by == "DAQP (2), CLARABEL (1)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simplex_vertex", "linear program"),
        ("quadratic_constrained", "quadratic program"),
        ("power_cone", "quadratic cone program (power cones)"),
    ],
)
def test_kinds_of_programs(name, kind):
    row = zoo.row_named(name)
    layer = CvxpyLayer(*row.build(), gp=row.gp)
    assert kind_of(layer._layer.structure) == kind


def test_integers_and_mixtures_of_cones_are_kinds():
    x, a = cp.Variable(3), cp.Parameter(3)
    mixed = cp.Problem(cp.Minimize(a @ x - cp.sum(cp.log(x))), [cp.norm(x) <= 1])
    structure = CvxpyLayer(mixed, [a], [x])._layer.structure
    assert kind_of(structure) == "cone program (exponential and second-order cones)"
    z = cp.Variable(3, integer=True)
    whole = cp.Problem(cp.Minimize(a @ z), [z >= 0, z <= 4])
    assert kind_of(CvxpyLayer(whole, [a], [z])._layer.structure) == "mixed-integer linear program"


def test_many_parameters_are_counted():
    each = [(f"p{i}", ()) for i in range(6)]
    assert named_shapes(each, 4) == "p0 (), p1 (), p2 (), p3 (), 2 more"
    assert named_shapes([], 4) == "nothing"
