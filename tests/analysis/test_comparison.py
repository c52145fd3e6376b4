"""Derivatives side by side: the rows, the reference, and what can be made of them."""

from __future__ import annotations

import json

import cvxpy as cp
import numpy as np
import pytest
import torch

import cvxlpgd
from cvxlpgd import LPGD, FiniteDifference, Implicit, compare
from cvxlpgd.errors import CvxlpgdError, FailedSampleWarning, InvalidInput, InvalidProblem
from cvxlpgd.solvers import SCS
from tests import zoo

FIELDS = {
    "derivative", "tau", "automatic", "side", "error_reference", "cosine_reference", "error_fd",
    "cosine_fd", "seconds", "size", "zeros", "failed", "title", "method", "size_beyond",
}  # fmt: skip


def of(name: str, batch: int = 2, **options):
    row = zoo.row_named(name)
    problem, parameters, variables = row.build()
    options = {"gp": row.gp} | options
    return compare(problem, parameters, variables, row.inputs(batch), **options)


@pytest.fixture(scope="module")
def quadratic():
    return of("quadratic_constrained")


def test_default_rows(quadratic):
    first, exact, second, *rest = quadratic.rows
    assert (exact.derivative, exact.tau, exact.side) == ("Exact()", None, None)
    assert (first.derivative, first.tau, first.side) == ("Implicit(lsqr)", None, None)
    assert (second.derivative, second.side, second.automatic) == ("LPGD()", "average", True)
    assert second.tau == 0  # its limit
    assert [row.side for row in rest] == ["lower"] * 7 + ["upper"] * 7 + ["average"] * 7
    taus = [row.tau for row in rest[:7]]
    assert taus == pytest.approx([taus[0] * 10**k for k in range(7)])
    assert not any(row.automatic for row in rest)
    assert all(row.seconds > 0 for row in quadratic.rows)
    assert quadratic.reference == 'Implicit("lsqr")'
    assert quadratic.solver == "DAQP"
    assert (quadratic.samples, quadratic.entries) == (2, 16 + 4 + 8 + 2)
    assert cvxlpgd.Comparison is type(quadratic)


def test_errors_and_cosines(quadratic):
    implicit, exact, automatic, *grid = quadratic.rows
    assert implicit.error_reference == 0
    assert implicit.cosine_reference == pytest.approx(1.0)
    assert implicit.error_fd < 1e-4
    assert exact.error_fd < 1e-7
    assert automatic.error_reference < 1e-3
    assert automatic.cosine_reference > 0.999
    lower, average = grid[1], grid[15]
    assert lower.tau == average.tau
    assert 1e-8 < lower.error_reference < 1e-1
    assert average.error_reference < lower.error_reference
    assert grid[6].error_reference > 10 * grid[1].error_reference
    assert 0 < quadratic.noise < 1e-6


def test_the_same_numbers_again(quadratic):
    again = of("quadratic_constrained")
    for one, other in zip(quadratic.rows, again.rows, strict=True):
        assert one.error_reference == other.error_reference
        assert one.error_fd == other.error_fd


def test_failed_backward_passes_are_counted():
    """Perturbed downwards by 10, 1, 0.1 or 0.01 the cost is negative and the program unbounded."""
    x, c = cp.Variable(2), cp.Parameter(2)
    problem, down = cp.Problem(cp.Minimize(c @ x), [x >= 0]), -np.ones((3, 2))
    settings = [LPGD(tau=10.0, side="lower"), LPGD(tau=10.0, side="upper")]
    found = compare(problem, [c], [x], [-1e-3 * down], derivatives=settings, cotangents=[down])
    assert [row.failed for row in found.rows] == [3, 0]


def test_a_vertex_has_zeros():
    found = of("simplex_vertex", taus=[1e-3, 10.0], solver="HIGHS", reference=FiniteDifference())
    judge, _, automatic, *grid = found.rows
    assert judge.zeros == 1.0
    assert np.isnan(automatic.error_reference)  # relative to a gradient of 0
    assert automatic.zeros < 1.0
    assert [row.zeros < 1.0 for row in grid if row.side == "average"] == [False, True]
    assert "100%" in found.to_markdown()
    json.dumps(found.to_dict(), allow_nan=False)


def test_chosen_derivatives_and_reference():
    derivatives = [LPGD(tau=0.1, side="upper"), LPGD(), FiniteDifference(), Implicit("dense")]
    found = of("scalars", derivatives=derivatives, reference=LPGD(tau=1e-3))
    names = ["LPGD()", "LPGD()", "FiniteDifference()", "Implicit(dense)"]
    assert [row.derivative for row in found.rows] == names
    assert [row.side for row in found.rows] == ["upper", "average", None, None]
    assert found.rows[0].tau == 0.1
    assert found.reference == "LPGD(tau=1e-3)"
    assert all(row.error_reference < 1e-3 for row in found.rows[1:])


def test_where_the_reference_does_not_apply():
    found = of("power_cone", taus=[1e-3])
    assert found.reference == "FiniteDifference()"
    assert "power cones" in found.facts.substitute
    assert found.rows[0].derivative == "FiniteDifference()"
    assert found.rows[1].error_reference < 1e-2
    found = of("power_cone", taus=[1e-3], reference=LPGD())
    assert found.reference == "LPGD()"


def test_cotangents_and_losses_agree():
    values = zoo.row_named("scalars").inputs(3)
    by_loss = of("scalars", 3, loss=lambda x: (3.0 * x).sum(), taus=[0.01])
    by_loss_per_sample = of("scalars", 3, loss=lambda x: 3.0 * x, taus=[0.01])
    given = of("scalars", 3, cotangents=[3.0 * np.ones(3)], taus=[0.01])
    spread = of("scalars", 3, cotangents=[3], taus=[0.01])
    assert len(values[0]) == by_loss.samples == 3
    tensors = of("scalars", 3, cotangents=[torch.full((3,), 3.0)], taus=[0.01])
    for other in (by_loss_per_sample, given, spread, tensors):
        for one, row in zip(by_loss.rows, other.rows, strict=True):
            assert row.error_fd == one.error_fd
            assert row.tau == one.tau


def test_a_loss_of_some_outputs():
    found = of("quadratic_constrained", loss=lambda x, y, z: x[..., 0].sum(), taus=[1e-3])
    assert found.rows[1].error_reference < 1e-3


def test_samples_without_a_cotangent_have_no_say_in_tau():
    found = of("scalars", 4, cotangents=[np.array([1.0, 0.0, 0.0, 0.0])], taus=[0.1])
    alone = of("scalars", 1, cotangents=[1.0], taus=[0.1])
    assert found.rows[1].tau == alone.rows[1].tau
    assert found.rows[0].tau is None


def test_options():
    found = of("log_log_convex", 1, taus=[1e-3], solver=SCS(eps=1e-10), derivatives=[LPGD()])
    assert found.solver == "SCS"
    assert found.rows[0].error_fd < 1e-2
    problem, parameters, variables = zoo.row_named("scalars").build()
    found = compare(problem, parameters, variables, [1, 2.0], taus=[1e-3])  # not batched
    assert found.samples == 1


def test_progress(capsys):
    of("scalars", taus=[1e-3], progress=True)
    assert "Traceback" not in capsys.readouterr().err


def test_failed_samples_are_counted():
    low, x = cp.Parameter(), cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x)), [x >= low, x <= 2])
    with pytest.warns(FailedSampleWarning, match="sample 1") as caught:
        found = compare(problem, [low], [x], [np.array([1.0, 3.0])], taus=[1e-3])
    assert "on_failure" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert [row.failed for row in found.rows] == [1] * 6
    assert found.rows[1].error_reference < 1e-6
    assert "| failed" in found.to_markdown()
    with pytest.raises(InvalidInput, match=r"no sample has a solution.*: infeasible and .*NaN"):
        compare(problem, [low], [x], [np.array([4.0, 3.0, np.nan])])
    with pytest.raises(InvalidInput, match=r"no sample has a solution.*: infeasible$"):
        compare(problem, [low], [x], [4.0])


def test_markdown(quadratic):
    title, empty, head, line, *body = quadratic.to_markdown().splitlines()
    assert "2 samples" in title
    assert "solved by DAQP" in title
    assert 'Implicit("lsqr")' in title
    assert empty == ""
    assert [cell.strip() for cell in head.split("|")[1:4]] == ["derivative", "error", "cosine"]
    assert set(line) <= set("|-: ")
    assert len(body) == len(quadratic.rows)
    assert "`LPGD()`  limit" in body[2]
    assert "nan" not in quadratic.to_markdown()


def test_json(quadratic):
    plain = json.loads(json.dumps(quadratic.to_dict(), allow_nan=False))
    assert set(plain) == {
        "rows", "reference", "noise", "solver", "samples", "entries", "facts", "verdict",
    }  # fmt: skip
    assert plain["verdict"] == quadratic.verdict
    assert len(plain["rows"]) == len(quadratic.rows)
    assert all(set(row) == FIELDS for row in plain["rows"])
    assert plain["rows"][0]["tau"] is None
    assert plain["rows"][1]["error_fd"] == quadratic.rows[1].error_fd


BAD = {
    "values": ({"values": [1.0]}, InvalidInput, ["received 1", "expected 2"]),
    "values not a list": ({"values": 3}, InvalidInput, ["values", "list"]),
    "value": ({"values": [1.0, "a"]}, InvalidInput, ["value 1", "real"]),
    "shape": ({"values": [1.0, np.ones((2, 3))], "parameters": None}, CvxlpgdError, []),
    "both": ({"cotangents": [1.0], "loss": lambda x: x}, InvalidInput, ["cotangents", "loss"]),
    "cotangents": ({"cotangents": [1.0, 1.0]}, InvalidInput, ["received 2", "expected 1"]),
    "cotangent": ({"cotangents": [np.ones(5)]}, InvalidInput, ["cotangent 0", "(5,)"]),
    "zero": ({"cotangents": [0.0]}, InvalidInput, ["nothing to compare"]),
    "loss": ({"loss": lambda x: 1.0}, InvalidInput, ["loss", "tensor"]),
    "no parameter": ({"values": [], "parameters": []}, CvxlpgdError, []),
    "problem": ({"problem": None}, InvalidProblem, ["cvxpy.Problem"]),
    "solver": ({"solver": "MOZEK"}, CvxlpgdError, ["MOZEK"]),
}


@pytest.mark.parametrize(("changed", "error", "parts"), BAD.values(), ids=BAD.keys())
def test_bad_input(changed, error, parts):
    problem, parameters, variables = zoo.row_named("scalars").build()
    arguments = {"problem": problem, "parameters": parameters, "variables": variables}
    with pytest.raises(error) as caught:
        compare(**(arguments | {"values": [1.0, 2.0]} | changed))
    assert all(part in str(caught.value) for part in parts), caught.value


def test_the_values_of_one_parameter_are_to_be_wrapped():
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(c @ x + cp.sum_squares(x)))
    with pytest.raises(InvalidInput, match=r"wrap them in a list: \[\[1.0, 1.4, 2.0\]\]"):
        compare(problem, [c], [x], [1.0, np.float64(1.4), 2.0])
    with pytest.raises(InvalidInput, match="received 2 values, expected 1"):
        compare(problem, [c], [x], [1.0, 2.0])


def test_no_parameters_are_nothing_to_compare():
    with pytest.raises(InvalidInput, match="nothing to compare: no parameter"):
        of("no_parameters")
