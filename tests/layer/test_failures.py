"""Samples without a solution or without a gradient: named, or NaN and 0 while the others go on."""

from __future__ import annotations

import warnings
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, FiniteDifference, Implicit
from cvxlpgd.errors import (
    CvxlpgdError,
    DegenerateGradientWarning,
    FailedSampleWarning,
    InaccurateSolutionWarning,
    InvalidInput,
    SolveFailed,
)
from cvxlpgd.layer import failure
from cvxlpgd.numpy import CvxpyLayer as NumpyLayer
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.layers import copies, same

# torch's own, when it first looks for decompositions
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

NAN, INF = float("nan"), float("inf")


def fragile(make=CvxpyLayer, **options) -> CvxpyLayer:
    """Infeasible where low > high, unbounded where the cost is negative."""
    low, cost = cp.Parameter(name="low"), cp.Parameter(name="cost")
    high = cp.Parameter(nonneg=True, name="high")
    x, y = cp.Variable(), cp.Variable(nonneg=True)
    inside = x >= low
    problem = cp.Problem(cp.Minimize(cp.square(x) + cost * y), [inside, x <= high])
    parameters, variables = [low, high, cost], [x, y, inside.dual_variables[0]]
    return make(problem, parameters, variables, **options)


def numpy_layer(**options) -> NumpyLayer:
    return fragile(NumpyLayer, **options)


GOOD = ([1.0, 2.0, 1.0], [0.5, 2.0, 1.0])
BAD = {
    "infeasible": [3.0, 2.0, 1.0],
    "unbounded": [1.0, 2.0, -1.0],
    "NaN": [NAN, 2.0, 1.0],
    "infinite": [1.0, INF, 1.0],
    "outside": [-5.0, -4.0, 1.0],
}
STATUS = ["solved", "infeasible", "unbounded", "failed", "failed", "failed", "solved"]


def columns(rows) -> list[torch.Tensor]:
    return list(torch.tensor(rows, dtype=torch.float64).unbind(1))


@pytest.mark.parametrize("derivative", [LPGD(), Implicit(), FiniteDifference()], ids=repr)
@pytest.mark.parametrize("solver", [None, "SCS", "ECOS", "OSQP"])
def test_failed_samples_are_nan_and_do_not_touch_the_others(solver, derivative):
    layer = fragile(solver=solver, derivative=derivative, on_failure="nan")
    leaves = copies(columns([GOOD[0], *BAD.values(), GOOD[1]]))
    with pytest.warns(FailedSampleWarning, match="5 of 7 samples failed") as caught:
        outputs = layer(*leaves)
    assert len(caught) == 1
    for text in ("sample 1", "infeasible", "sample 2", "unbounded", "sample 3", "low has NaN",
                 "sample 5", "high is below"):  # fmt: skip
        assert text in str(caught[0].message)
    assert layer.info.status.tolist() == STATUS
    assert layer.info.ok.tolist() == [status == "solved" for status in STATUS]
    assert all(output.isnan().tolist() == [False, *[True] * 5, False] for output in outputs)
    # whatever the cotangents of failed rows
    cotangents = [torch.tensor([1.0, NAN, INF, 2.0, -INF, 0.0, 3.0], dtype=torch.float64)] * 3
    torch.autograd.backward(outputs, cotangents)
    alone = copies(columns([GOOD[0], GOOD[1]]))
    expected = fragile(solver=solver, derivative=derivative)(*alone)
    torch.autograd.backward(expected, [c[[0, 6]] for c in cotangents])
    for leaf, single in zip(leaves, alone, strict=True):
        assert not leaf.grad[1:6].any()
        assert torch.equal(leaf.grad[[0, 6]], single.grad)
    assert same([o[[0, 6]] for o in outputs], expected)


@pytest.mark.parametrize("derivative", [LPGD(), Implicit()], ids=repr)
def test_failed_samples_of_arrays(derivative):
    """NumPy: NaN rows and tangents, gradients 0, and the others as without them, to the bit."""
    rows = np.array([GOOD[0], *BAD.values(), GOOD[1]])
    good, bars = [0, 6], [np.array([1.0, NAN, INF, 2.0, -INF, 0.0, 3.0])] * 3
    layer, alone = (numpy_layer(derivative=derivative, on_failure=p) for p in ("nan", "raise"))
    with pytest.warns(FailedSampleWarning, match="5 of 7 samples failed"):
        outputs, pullback = layer.vjp(*rows.T)
    assert layer.info.status.tolist() == STATUS
    expected, single = alone.vjp(*rows[good].T)
    for output, wanted in zip(outputs, expected, strict=True):
        assert np.isnan(output[1:6]).all()
        assert np.array_equal(output[good], wanted)
    for found, wanted in zip(pullback(*bars), single(*(bar[good] for bar in bars)), strict=True):
        assert not found[1:6].any()
        assert np.array_equal(found[good], wanted)
    dots = np.cos(np.arange(21.0)).reshape(7, 3)
    with pytest.warns(FailedSampleWarning):
        _, tangents = layer.jvp([*rows.T], [*dots.T])
    _, wanted = alone.jvp([*rows[good].T], [*dots[good].T])
    for tangent, own in zip(tangents, wanted, strict=True):
        assert np.isnan(tangent[1:6]).all()
        assert np.array_equal(tangent[good], own)


def test_every_failed_sample_is_in_the_error():
    rows = np.array([GOOD[0], BAD["infeasible"], BAD["unbounded"]] * 5)
    with pytest.raises(SolveFailed) as caught:
        numpy_layer()(*rows.T)
    wrong = [i for i in range(15) if i % 3]
    assert caught.value.samples == tuple(wrong)
    assert caught.value.statuses == ("infeasible", "unbounded") * 5
    for part in ("10 of 15", "samples 1, 4, 7, 10, 13: infeasible", "; samples 2, 5, 8, 11, 14: ",
                 "unbounded", "leave a feasible point", "bound the variables"):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "shape", "text"),
    [
        ({2: "a"}, (3,), "sample 2: a"),
        ({0: "a", 1: "a", 2: "a", 9: "a"}, (10,), "samples 0-2, 9: a"),
        ({0: "a", 1: "b", 2: "a", 3: "a"}, (4,), "samples 0, 2-3: a; sample 1: b"),
        (dict.fromkeys(range(1000), "a"), (1000,), "samples 0-999: a"),
        (dict.fromkeys(range(0, 1000, 2), "a"), (1000,),
         "samples 0, 2, 4, 6, 8, 10, 12, 14 and 492 more: a"),
        (dict.fromkeys((1, 2, 3, 5), "a"), (2, 3), "samples (0, 1) to (1, 0), (1, 2): a"),
        ({i: f"of {i}" for i in range(10)}, (10,), "sample 7: of 7; and 2 more for other reasons"),
        ({0: "a"}, (), "cannot be solved: a"),
    ],
)  # fmt: skip
def test_equal_failures_are_said_once(bad, shape, text):
    faults = [bad.get(i, "") for i in range(int(np.prod(shape)))]
    with pytest.raises(InvalidInput) as caught:
        failure.raise_faults(faults, shape)
    assert str(caught.value).endswith(text)


def test_a_message_on_many_samples_is_short():
    """Every other of 4096 samples fails: the message names the first and says how many."""
    rows = np.array([GOOD[0], BAD["infeasible"]] * 2048)
    with pytest.warns(FailedSampleWarning) as caught:
        numpy_layer(on_failure="nan")(*rows.T)
    (message,) = (str(w.message) for w in caught)
    assert "samples 1, 3, 5, 7, 9, 11, 13, 15 and 2040 more: infeasible" in message
    assert len(message) < 400
    with pytest.raises(SolveFailed) as error:
        numpy_layer()(*rows.T)
    assert error.value.samples == tuple(range(1, 4096, 2))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("values", "which"),
    [([1.0], "1 of 1 samples was solved"), ([1.0, NAN, 1.0], r"2 of 3 .*\(0, 2\)")],
)
def test_inaccurate_samples_are_named(values, which):
    layer = numpy_layer(solver="SCS", solver_args={"max_iters": 2, "eps": 1e-12}, on_failure="nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailedSampleWarning)
        with pytest.warns(InaccurateSolutionWarning, match=which):
            layer(np.array(values), 2.0, 1.0)


def test_a_shared_parameter_gets_the_good_samples_gradients_only():
    layer = fragile(on_failure="nan")
    low = torch.tensor([1.0, 3.0, 1.5], dtype=torch.float64)
    high, cost = copies([torch.tensor(2.0), torch.tensor(1.0)])
    with pytest.warns(FailedSampleWarning):
        x, _, dual = layer(low, high, cost)
    assert x[[0, 2]].tolist() == pytest.approx([1.0, 1.5], abs=1e-6)
    low.requires_grad_()
    with pytest.warns(FailedSampleWarning):
        x, _, dual = layer(low, high, cost)
    (x + dual).nansum().backward()  # x = low, dual = 2 low
    assert low.grad.tolist() == pytest.approx([3.0, 0.0, 3.0], abs=1e-4)
    assert not high.grad.isnan()


def test_all_samples_failed():
    layer = fragile(on_failure="nan")
    leaves = copies(columns(list(BAD.values())))
    with pytest.warns(FailedSampleWarning, match="5 of 5"):
        outputs = layer(*leaves)
    sum(output.sum() for output in outputs).backward()
    assert not any(leaf.grad.any() for leaf in leaves)
    single = copies([torch.tensor(v) for v in BAD["infeasible"]])
    with pytest.warns(FailedSampleWarning, match="the sample failed"):
        outputs = layer(*single)
    outputs[0].backward()
    assert all(leaf.grad == 0 for leaf in single)
    # one bad value that the whole batch shares
    with pytest.warns(FailedSampleWarning, match="3 of 3"):
        (x, _, _) = layer(torch.tensor(NAN), torch.ones(3), torch.ones(3))
    assert x.isnan().all()


def test_forward_mode_of_failed_samples_is_nan():
    layer = fragile(on_failure="nan")
    values = columns([GOOD[0], BAD["infeasible"]])
    with pytest.warns(FailedSampleWarning):
        _, dots = torch.func.jvp(layer, tuple(values), tuple(torch.ones_like(v) for v in values))
    assert dots[0].isnan().tolist() == [False, True]
    assert dots[0][0].item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("derivative", [LPGD(), Implicit()], ids=repr)
@pytest.mark.parametrize("value", [NAN, INF])
def test_a_cotangent_that_is_not_finite_spoils_its_own_sample_only(derivative, value):
    layer, values = fragile(derivative=derivative), columns(GOOD)
    leaves, alone = copies(values), copies([v[1] for v in values])
    layer(*leaves)[0].backward(torch.tensor([value, 1.0], dtype=torch.float64))
    layer(*alone)[0].backward()
    for leaf, single in zip(leaves, alone, strict=True):
        assert leaf.grad[0].isnan()
        assert leaf.grad[1] == single.grad
    _, dots = torch.func.jvp(
        layer, tuple(values), (torch.tensor([value, 1.0]).double(), *(0 * v for v in values[1:]))
    )
    assert dots[0].isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("rows", "shape", "error", "parts", "statuses"),
    [
        ([BAD["infeasible"]], (), SolveFailed, ["the sample", "infeasible"], ["infeasible"]),
        ([BAD["unbounded"]], (), SolveFailed, ["unbounded", "sign"], ["unbounded"]),
        ([GOOD[0], BAD["infeasible"], BAD["unbounded"]], (3,), SolveFailed,
         ["2 of 3 samples", "sample 1", "infeasible", "sample 2", "unbounded", 'on_failure="nan"'],
         ["infeasible", "unbounded"]),
        ([GOOD[0], GOOD[1], BAD["unbounded"], GOOD[0]], (2, 2), SolveFailed,
         ["1 of 4 samples", "sample (1, 0)", "unbounded"], ["unbounded"]),
        ([BAD["infeasible"]] * 20, (20,), SolveFailed, ["20 of 20", "samples 0-19: infeasible"],
         ["infeasible"] * 20),
        ([GOOD[0], BAD["NaN"]], (2,), InvalidInput, ["sample 1", "low", "NaN"], None),
        ([GOOD[0], BAD["outside"]], (2,), InvalidInput, ["sample 1", "high", "nonneg=True"], None),
    ],
)  # fmt: skip
def test_failed_samples_are_named(rows, shape, error, parts, statuses):
    values = [column.reshape(shape) for column in columns(rows)]
    with pytest.raises(error) as caught:
        fragile()(*values)
    assert isinstance(caught.value, CvxlpgdError)
    assert all(part in str(caught.value) for part in parts), caught.value
    if statuses is not None:
        assert list(caught.value.statuses) == statuses
        bad = [i for i, row in enumerate(rows) if row in list(BAD.values())]
        assert list(caught.value.samples) == bad


def test_a_failure_is_a_solver_error_of_cvxpy():
    """Code that catches CVXPY's own error goes on working."""
    with pytest.raises(cp.SolverError, match="infeasible"):
        fragile()(*columns([BAD["infeasible"]]))


def unbounded_when_perturbed(**options) -> CvxpyLayer:
    cost, x = cp.Parameter(2), cp.Variable(2, nonneg=True)
    return CvxpyLayer(cp.Problem(cp.Minimize(cost @ x)), [cost], [x], **options)


def test_a_backward_pass_that_fails_says_where_and_what_to_try():
    cost = torch.tensor([[1e-3, 1.0], [1e3, 1e3]], requires_grad=True)
    layer = unbounded_when_perturbed(derivative=LPGD(tau=10.0, side="lower"))
    (x,) = layer(cost)
    with pytest.raises(SolveFailed) as caught:
        x.backward(torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]))
    for part in ("1 of 2 samples", "sample 0", "lower side", "tau = 10", "unbounded",
                 "down to tau = 0.01", "rho > 0", 'side="average"', "smaller tau"):  # fmt: skip
        assert part in str(caught.value)
    assert caught.value.samples == (0,)
    # the remedies that the message names
    for remedy in (LPGD(tau=5e-4, side="lower"), LPGD(tau=10.0), LPGD(10.0, 1.0, "lower")):
        (x,) = unbounded_when_perturbed(derivative=remedy)(cost)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateGradientWarning)
            x.backward(torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]))


def test_a_backward_pass_that_fails_is_zero_if_asked_for():
    cost = torch.tensor([[1.0, 1.0], [1e-4, 1.0]], requires_grad=True)
    derivative = LPGD(tau=0.5, side="lower", rho=0.0)
    layer = unbounded_when_perturbed(derivative=derivative, on_failure="nan")
    (x,) = layer(cost)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x.backward(torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]))
    failed = [w for w in caught if w.category is FailedSampleWarning]
    assert len(failed) == 1
    assert "sample 1" in str(failed[0].message)
    assert not cost.grad[1].any()
    assert np.isfinite(cost.grad.numpy()).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_large_values_are_not_taken_for_infeasible(scale):
    a, x = cp.Parameter(2), cp.Variable(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0]), [a], [x])
    value = (scale * torch.tensor([1.0, -1.0], dtype=torch.float64)).requires_grad_()
    (found,) = layer(value)
    assert found.tolist() == pytest.approx([scale, 0.0], abs=1e-6 * max(scale, 1.0))
    found.square().sum().backward()
    assert value.grad.tolist() == pytest.approx([2 * scale, 0.0], rel=1e-4, abs=1e-4 * scale)


def test_failed_samples_under_transforms():
    a, t = cp.Parameter(pos=True), cp.Variable(pos=True)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(t), [t >= a]), [a], [t], gp=True, on_failure="nan")
    values = torch.tensor([2.0, -1.0, NAN], dtype=torch.float64)
    with pytest.warns(FailedSampleWarning, match="2 of 3"):
        rows = torch.func.vmap(torch.func.jacrev(lambda a: layer(a)[0]))(values)
    assert rows.tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("filename", "inside"),
    [
        (failure.__file__, True),
        (torch.nn.functional.__file__, True),
        ("<eval_with_key>.3", True),
        ("/tmp/torchinductor_me/ab/cab.py", True),
        ("/home/me/torch/train.py", False),
        (str(Path(failure.__file__).parent.parent) + "_project/train.py", False),
    ],
)
def test_warnings_point_at_the_callers_code(filename, inside):
    assert failure._is_inside(filename) is inside
