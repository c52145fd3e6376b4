"""Bad input: each an error of ours that says what, which and what to try."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd.errors import CvxlpgdError, InvalidInput, InvalidProblem
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.torch import CvxpyLayer

a, b = cp.Parameter(2, name="a"), cp.Parameter(2, name="b")
P = cp.Parameter((2, 2), PSD=True, name="P")
free, unset = cp.Parameter(name="free"), cp.Parameter(2, name="unset")
r, t = cp.Parameter(pos=True, name="r"), cp.Variable(pos=True, name="t")
x, other = cp.Variable(2, name="x"), cp.Variable(3, name="other")
w, V = cp.Variable(name="w"), cp.Variable((2, 2), name="V")
S = cp.Parameter((2, 2), symmetric=True, name="S")
z = cp.Variable(2, complex=True, name="z")
H = cp.Parameter((2, 2), hermitian=True, name="H")
above, elsewhere = x >= b, x >= 7
QP = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [above])

k = cp.Variable(2, integer=True)
INTEGER = cp.Problem(cp.Minimize(cp.norm1(k - a)), [k >= 0])


def problem(cost, *constraints) -> cp.Problem:
    return cp.Problem(cp.Minimize(cost), list(constraints))


def contains(error, parts) -> None:
    assert all(part in str(error) for part in parts), error


# (problem, parameters, variables, options), what the message must contain
PROBLEMS = {
    "not DPP, product": ((problem(cp.multiply(a, b) @ x, x >= 0), [a, b], [x]),
                         ["Problem must be DPP.", "expression a * b in the objective",
                          "CallbackParam", "`parameters`"]),
    "not DPP, division": ((problem(cp.sum_squares(x), x / free >= 1), [free], [x]),
                          ["x / free in the constraint 1 <= x / free", "cannot divide"]),
    "not DPP, two factors": ((problem(r * cp.sum_squares(x - a)), [r, a], [x]),
                             ["r * sum_squares(x - a)", "only one factor", "new variable"]),
    "not DPP, constraint": ((problem(cp.sum(x), cp.square(a) @ x >= 1), [a], [x]),
                            ["Problem must be DPP.", "Make a**2 itself a new parameter"]),
    "not DPP, quadratic form": ((problem(cp.sum(x), cp.quad_form(x, P) <= 1), [P], [x]),
                                ["must be DPP.", "quad_form(x, P)", "cp.sum_squares(L @ x)"]),
    "product": ((problem(x[0] * x[1] + a @ x), [a], [x]),
                ["DCP", "x[0] * x[1] in the objective is neither convex nor concave",
                 "make one factor of a product a parameter"]),
    "products": ((problem(x[0] * x[1], x[0] * w <= 1, w * x[1] == 2, w * w >= 1), [], [x]),
                 ["x[0] * x[1] in", "x[0] * w in the constraint x[0] * w <= 1", "and 1 more"]),
    "indefinite": ((problem(cp.quad_form(x, np.diag([1.0, -1.0]))), [], [x]),
                   ["quad_form(x, [2 x 2 array])", "cp.psd_wrap"]),
    "unknown matrix": ((problem(cp.quad_form(x, S)), [S], [x]),
                       ["quad_form(x, S)", "declare S semidefinite", "PSD=True"]),
    "unknown sign": ((problem(free * cp.sum_squares(x)), [free], [x]),
                     ["free * sum_squares(x)", "declare the sign of free", "nonneg=True"]),
    "wrong objective": ((problem(-cp.sum_squares(x) + a @ x), [a], [x]),
                        ["minimizes -sum_squares(x) + a @ x, which is concave", "its sign"]),
    "wrong maximum": ((cp.Problem(cp.Maximize(cp.exp(w))), [], [w]),
                      ["maximizes exp(w), which is convex and can only be minimized"]),
    "ratio": ((problem(x[0] / w), [], [x]), ["x[0] / w", "cp.inv_pos"]),
    "root": ((problem(cp.sqrt(cp.sum_squares(x) + 1)), [], [x]),
             ["sqrt(sum_squares(x) + 1) in the objective", "cp.norm(x)"]),
    "outside of a ball": ((problem(cp.sum(x), cp.norm(x) >= 1), [], [x]),
                          ["norm(x), the larger side of the constraint 1 <= norm(x), is convex, "
                           "not concave", "linearization"]),
    "below a root": ((problem(w, cp.sqrt(w) <= a[0]), [a], [w]),
                     ["sqrt(w), the smaller side of the constraint sqrt(w) <= a[0], is concave",
                      "quasiconvex"]),
    "sphere": ((problem(cp.sum(x), cp.sum_squares(x - a) == 1), [a], [x]),
               ["sum_squares(x - a) == 1 must be affine, but not sum_squares(x - a)",
                "an inequality"]),
    "semidefinite product": ((problem(cp.trace(V), V @ V >> 0), [], [V]),
                             ["V @ V in the constraint V @ V >> 0"]),
    "product in a cone": ((problem(w, cp.SOC(w * w, x)), [], [w]), ["w * w in the constraint SOC"]),
    "long": ((problem(cp.sum([x[0] * w + k for k in range(99)])), [], [w]),
             ["x[0] * w in the objective"]),
    "large": ((problem(cp.sum(np.ones((50, 2)) @ x * w)), [], [w]), ["[50 x 2 array] @ x * w in"]),
    "not DCP but DGP": ((problem(r / t, t <= 2), [r], [t]), ["DCP", "r / t", "gp=True"]),
    "not DGP": ((problem(r * t - t, t <= 2), [r], [t], {"gp": True}),
                ["DGP", "-t in the objective is neither log-log convex", "gp=True"]),
    "monomials": ((problem(t, r * t + 1 == t), [r], [t], {"gp": True}),
                  ["r * t + 1 == t must be monomials, but not r * t + 1"]),
    "complex variable": ((problem(cp.norm(z - a)), [a], [z]), ["variable 'z'", "complex"]),
    "hermitian parameter": ((problem(cp.real(cp.trace(H)) + cp.norm(x)), [H], [x]),
                            ["parameter 'H'", "complex"]),
    "no entries": ((problem(cp.norm(x - a) + cp.sum(cp.Variable(0, name="none"))), [a], [x]),
                   ["variable 'none'", "no entries"]),
    # CVXPY has no way to put a cumulative sum into a quadratic form, and says so without a text
    "not compiled": ((problem(cp.quad_form(cp.cumsum(x), np.eye(2)) + a @ x), [a], [x]),
                     ["CVXPY cannot compile the problem", "NotImplementedError"]),
    "unknown variable": ((QP, [a, b], [other]), ["variables[0]", "'other'", "(3,)"]),
    "dual of an integer program": ((INTEGER, [a], [k, INTEGER.constraints[0].dual_variables[0]]),
                                   ["integer program", "no dual variables"]),
    "dual of another problem": ((QP, [a, b], [x, elsewhere.dual_variables[0]]), ["variables[1]"]),
    "unknown parameter": ((QP, [a, b, free], [x]), ["parameters[2]", "'free'", "'a'"]),
    "parameter twice": ((QP, [a, b, a], [x]), ["parameters", "twice"]),
    "variable twice": ((QP, [a, b], [x, x]), ["variables", "twice"]),
    "no value": ((problem(cp.sum_squares(x - a) + unset @ x), [a], [x]),
                 ["'unset'", "not listed", "no value"]),
    "no value in bounds": ((problem(cp.sum_squares(cp.Variable(2, bounds=[unset, 3]))), [], []),
                           ["'unset'", "no value"]),
    "not a problem": ((cp.Minimize(cp.sum(x)), [], [x]), ["cvxpy.Problem", "Minimize"]),
    "no variables": ((problem(cp.sum(a)), [a], []), ["no variables"]),
    "parameters not a list": ((QP, a, [x]), ["parameters", "list", "Parameter"]),
    "variables not a list": ((QP, [a, b], x), ["variables", "list", "Variable"]),
    "not a parameter": ((QP, [a, "b"], [x]), ["parameters[1]", "str"]),
    "an expression": ((QP, [a, b], [x + 1]), ["variables[0]", "cvxpy.Variable", "AddExpression"]),
    "a constraint": ((QP, [a, b], [above]), ["variables[0]", "Inequality"]),
    "uncompilable": ((problem(cp.maximum(cp.quad_form(x, P), 1)), [P], [x]), ["CVXPY", "compile"]),
    "unknown backend": ((QP, [a, b], [x], {"canon_backend": "ABACUS"}), ["ABACUS"]),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_problems(arguments, parts):
    *positional, options = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    for kind in (CvxpyLayer, NumpyLayer):
        with pytest.raises(InvalidProblem) as caught:
            kind(*positional, **options)
        assert isinstance(caught.value, CvxlpgdError)
        assert isinstance(caught.value, ValueError)
        contains(caught.value, parts)
        assert len(str(caught.value)) < 500  # a part of the problem, not all of it


ones, many = torch.ones(2), torch.ones(5, 2)
CALLS = {
    "too few": ((ones,), ["received 1 tensors", "expected 2"]),
    "too many": ((ones, ones, ones), ["received 3 tensors", "expected 2"]),
    "none": ((), ["received 0 tensors", "expected 2"]),
    "shape": ((ones, torch.ones(3)), ["parameter 1 (b)", "(2,)", "(3,)"]),
    "too few axes": ((torch.tensor(1.0), ones), ["parameter 0 (a)", "(2,)", "()"]),
    "trailing batch axis": ((torch.ones(2, 5), ones), ["parameter 0 (a)", "(2,)", "(2, 5)"]),
    "batch axes": ((many, torch.ones(4, 2)), ["broadcast", "a: (5,)", "b: (4,)"]),
    "more batch axes": ((torch.ones(3, 5, 2), torch.ones(3, 1, 4, 2)),
                        ["broadcast", "a: (3, 5)", "b: (3, 1, 4)"]),
    "NaN": ((many * float("nan"), ones), ["5 of 5", "samples 0-4: parameter a", "NaN"]),
    "one NaN": ((ones, torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])),
                ["1 of 2", "sample 1", "parameter b", "NaN"]),
    "infinite": ((torch.tensor([1.0, float("inf")]), ones), ["parameter a", "infinite"]),
    "complex": ((ones * 1j, ones), ["value 0", "complex"]),
    "nothing": ((ones, None), ["value 1"]),
    "text": (("ones", ones), ["value 0"]),
    "ragged": (([[1.0], [1.0, 2.0]], ones), ["value 0"]),
    "meta": ((ones.to("meta"), ones), ["value 0", "meta"]),
    "a list of all": (([ones, ones],), ["value 0"]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "parts"), CALLS.values(), ids=CALLS.keys())
def test_calls(values, parts):
    with pytest.raises(InvalidInput) as caught:
        CvxpyLayer(QP, [a, b], [x])(*values)
    assert isinstance(caught.value, ValueError)
    contains(caught.value, parts)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (None, ["value 1", "object"]),
        ("ones", ["value 1", "real"]),
        ([[1.0], [1.0, 2.0]], ["value 1"]),
        (1j * np.ones(2), ["value 1", "complex"]),
        (np.ones(3), ["parameter 1 (b)", "(2,)", "(3,)"]),
        (np.array(["1", "2"]), ["value 1", "real"]),
        ({"b": 1}, ["value 1", "object"]),
    ],
)
def test_numpy_calls(value, parts):
    with pytest.raises(InvalidInput) as caught:
        NumpyLayer(QP, [a, b], [x])(np.ones(2), value)
    contains(caught.value, parts)


def test_a_value_that_many_samples_share_is_named_once():
    text = r"12 of 12 samples .*: samples \(0, 0\) to \(2, 3\): parameter a has NaN"
    with pytest.raises(InvalidInput, match=text):
        CvxpyLayer(QP, [a, b], [x])(torch.full((2,), float("nan")), torch.ones(3, 4, 2))


EYE, SKEW = np.eye(2), np.array([[0.0, 1.0], [-1.0, 0.0]])
OFF = np.array([[0.0, 1.0], [0.0, 0.0]])
# attributes, a value inside, a violation of it, what the message must contain
DOMAINS = {
    "nonneg": ({"nonneg": True}, EYE, -OFF, "what nonneg=True allows"),
    "pos": ({"pos": True}, EYE, -OFF, "what pos=True allows"),
    "nonpos": ({"nonpos": True}, -EYE, OFF, "what nonpos=True allows"),
    "neg": ({"neg": True}, -EYE, OFF, "what neg=True allows"),
    "bounds below": ({"bounds": [0, 2]}, EYE, -OFF, "below what bounds= allows"),
    "bounds above": ({"bounds": [None, np.eye(2)]}, EYE, OFF, "above what bounds= allows"),
    "symmetric": ({"symmetric": True}, EYE, SKEW, "symmetric, as symmetric=True"),
    "PSD": ({"PSD": True}, np.diag([1.0, 0.0]), np.diag([0.0, -1.0]), "semidefinite, as PSD=True"),
    "PSD, skew": ({"PSD": True}, EYE, SKEW, "symmetric"),
    "NSD": ({"NSD": True}, -np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), "semidefinite, as NSD=True"),
    "diag": ({"diag": True}, EYE, OFF, "pattern of diag=True"),
    "sparsity": ({"sparsity": ([0, 1], [0, 0])}, np.array([[1.0, 0], [2, 0]]), OFF, "of sparsity="),
    "integer": ({"integer": True}, 3 * EYE, OFF / 3, "integer=True"),
    "boolean": ({"boolean": True}, EYE, OFF / 2, "boolean=True"),
    "boolean above": ({"boolean": True}, EYE, EYE, "what boolean=True allows"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "good", "bad", "text"), DOMAINS.values(), ids=DOMAINS.keys()
)
def test_domains(attributes, good, bad, text):
    """A violation is an error that names parameter and sample; one under 1e-5 is rounding."""
    parameter, X = cp.Parameter((2, 2), name="theta", **attributes), cp.Variable((2, 2))
    layer = CvxpyLayer(problem(cp.sum_squares(X - parameter)), [parameter], [X])
    size = np.abs(good).max()
    values = torch.tensor(np.stack([good, good, good + bad]))
    with pytest.raises(InvalidInput) as caught:
        layer(values)
    contains(caught.value, ["1 of 3", "sample 2", "theta", text])
    with pytest.raises(InvalidInput):
        layer(torch.tensor(good + 1e-3 * size * bad))
    (found,) = layer(torch.tensor(good + 4e-6 * size * bad))
    assert found.numpy() == pytest.approx(good, abs=1e-4)
    scaled = [] if attributes.keys() & {"bounds", "boolean"} else [1e6, 1e-6]
    for scale in scaled:  # relative to the value's size
        if "integer" in attributes and scale < 1:
            continue
        layer(torch.tensor(scale * good * (1 + 0 * size)) + 4e-6 * scale * torch.tensor(bad))


def test_logarithms_need_positive_parameters():
    layer = CvxpyLayer(problem(t, t >= r), [r], [t], gp=True)
    assert layer(torch.tensor([1e-9, 1.0]))[0].tolist() == pytest.approx([1e-9, 1.0], rel=1e-4)
    for bad in (0.0, -1e-9):
        with pytest.raises(InvalidInput, match=r"sample 1.* r must be positive"):
            layer(torch.tensor([1.0, bad]))
