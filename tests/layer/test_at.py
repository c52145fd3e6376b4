"""A call made anew at its point has the derivatives of the call that solved for it."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer import compile_layer

x, c, s = cp.Variable(3), cp.Parameter(3), cp.Parameter()
LISTS = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == s, x >= 0]), [c, s], [x]
VALUES = [np.array([[1.0, 1.2, 0.9], [0.5, 0.2, 0.4], [0.0, 0.3, -2.0]]), np.array(1.0)]
BARS = [np.array([[1.0, -1.0, 2.0], [0.5, 1.0, 0.0], [1.0, 2.0, 3.0]])]


@pytest.mark.parametrize(
    "derivative", [LPGD(), LPGD(tau=0.1), LPGD(tau=np.array([0.1, 0.2, 0.3])), Implicit("dense")]
)
def test_derivatives_are_the_same(derivative):
    layer = compile_layer(*LISTS, derivative=derivative)
    call = layer.forward(VALUES)
    anew = layer.at(VALUES, call.full.point)
    pairs = zip(call.vjp(BARS, [True, True]), anew.vjp(BARS, [True, True]), strict=True)
    for expected, gradient in pairs:
        assert gradient.shape == expected.shape
        assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert anew.jvp(VALUES)[0] == pytest.approx(call.jvp(VALUES)[0], rel=1e-9, abs=1e-12)


def test_failed_samples_and_the_layers_record():
    layer = compile_layer(*LISTS, on_failure="nan")
    before = layer.forward(VALUES)
    point = before.full.point
    point.x[1] = np.nan
    anew = layer.at(VALUES, point)
    assert anew.record.ok.tolist() == [True, False, True]
    assert np.isnan(anew.outputs[0]).any(axis=1).tolist() == [False, True, False]
    assert not anew.vjp(BARS, [True, False])[0][1].any()
    assert layer.info is before.record


def test_solver_args_are_those_of_a_call():
    layer = compile_layer(*LISTS)
    args = {"solve_method": "SCS", "mode": "dense"}
    anew = layer.at(VALUES, layer.forward(VALUES).full.point, args)
    assert (anew.solver.name, anew.derivative) == ("SCS", Implicit("dense"))
    with pytest.raises(InvalidOption, match="nothing"):
        layer.chosen({"nothing": 1})
