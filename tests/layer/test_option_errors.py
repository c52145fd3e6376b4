"""Bad options: each an error of ours that says what, which and what to try."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, FiniteDifference, Implicit
from cvxlpgd.errors import (
    CvxlpgdError,
    DerivativeFailed,
    InvalidInput,
    InvalidOption,
    SolverNotInstalled,
    UnsuitableSolver,
)
from cvxlpgd.layer import Settings, compile_layer
from cvxlpgd.solvers import CVXPY, ECOS, SCS, Clarabel
from cvxlpgd.torch import CvxpyLayer

a, b = cp.Parameter(2, name="a"), cp.Parameter(2, name="b")
P, x = cp.Parameter((2, 2), PSD=True, name="P"), cp.Variable(2, name="x")
k, X = cp.Variable(2, integer=True), cp.Variable((2, 2), PSD=True)
QP = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= b])
ones, many = torch.ones(2), torch.ones(5, 2)


def problem(cost, *constraints) -> cp.Problem:
    return cp.Problem(cp.Minimize(cost), list(constraints))


def contains(error, parts) -> None:
    assert all(part in str(error) for part in parts), error


SOC = problem(a @ x, cp.norm(x) <= 1)
SDP = problem(cp.trace(P @ X), cp.trace(X) == 1)
INTEGER = problem(cp.norm1(k - a))
POWER = problem(a @ x, cp.PowCone3D(x[0], 1, x[1], 0.3))
IS_OPTION, IS_UNSUITABLE = InvalidOption, UnsuitableSolver

# problem, parameters, options, the error, what the message must contain
OPTIONS = {
    "unknown solver": (QP, {"solver": "MOZEK"}, IS_OPTION, ["'MOZEK'", "CLARABEL"]),
    "not a solver": (QP, {"solver": 3}, IS_OPTION, ["None", "Clarabel()", "3"]),
    "a solver's class": (QP, {"solver": SCS}, IS_OPTION, ["Clarabel()", "SCS"]),
    "cone": (SOC, {"solver": "HIGHS"}, IS_UNSUITABLE, ["HIGHS", "SOC"]),
    "another cone": (SDP, {"solver": "ECOS"}, IS_UNSUITABLE, ["ECOS", "PSD", "solver=None"]),
    "power cone": (POWER, {"solver": ECOS()}, IS_UNSUITABLE, ["ECOS", "Pow"]),
    "integers": (INTEGER, {"solver": "CLARABEL"}, IS_UNSUITABLE, ["CLARABEL", "integer"]),
    "fallback": (SDP, {"fallback": "ECOS"}, IS_UNSUITABLE, ["ECOS", "PSD"]),
    "unknown fallback": (QP, {"fallback": "MOZEK"}, IS_OPTION, ["'MOZEK'"]),
    "option of another solver": (QP, {"solver": "SCS", "solver_args": {"max_iter": 9}}, IS_OPTION,
                                 ["SCS", "'max_iter'", "max_iters"]),
    "option of none": (QP, {"solver_args": {"maxiter": 9}}, IS_OPTION,
                       ["CLARABEL", "SCS", "DAQP", "'maxiter'", "did you mean max_iter"]),
    "option of two solvers": (QP, {"solver_args": {"max_iters": 9, "max_iter": 9}}, IS_OPTION,
                              ["SCS or ECOS", "'max_iter', 'max_iters'"]),
    "eps": (QP, {"solver": "SCS", "solver_args": {"eps": -1}}, IS_OPTION, ["SCS", "eps_abs", "-1"]),
    "eps as text": (QP, {"solver": "ECOS", "solver_args": {"eps": "tiny"}}, IS_OPTION, ["'tiny'"]),
    "solver_args not a dict": (QP, {"solver_args": [1]}, IS_OPTION, ["solver_args", "list"]),
    "solver_args of numbers": (QP, {"solver_args": {1: 2}}, IS_OPTION, ["solver_args", "1"]),
    "solve_method and solver": (QP, {"solver": "ECOS", "solver_args": {"solve_method": "SCS"}},
                                IS_OPTION, ['"solve_method"', "solver="]),
    "warm_start": (QP, {"solver_args": {"warm_start": True}}, IS_OPTION, ["argument of the call"]),
    "solve_method": (QP, {"solver_args": {"solve_method": 3}}, IS_OPTION, ['"solve_method"', "3"]),
    "mode and derivative": (QP, {"derivative": LPGD(), "solver_args": {"mode": "lsqr"}}, IS_OPTION,
                            ['"mode"', "derivative="]),
    "mode": (QP, {"solver_args": {"mode": "qr"}}, IS_OPTION, ['"mode"', "lpgd_left", "'qr'"]),
    "mode not text": (QP, {"solver_args": {"mode": ["lsqr"]}}, IS_OPTION, ['"mode"', "lsqr"]),
    "derivative_kwargs alone": (QP, {"solver_args": {"derivative_kwargs": {"tau": 1}}}, IS_OPTION,
                                ['"derivative_kwargs"', '"mode"']),
    "derivative_kwargs": (QP, {"solver_args": {"mode": "lpgd", "derivative_kwargs": {"tao": 1}}},
                          IS_OPTION, ["'lpgd'", "'tao'"]),
    "tau in derivative_kwargs": (QP, {"solver_args": {"mode": "lpgd",
                                                      "derivative_kwargs": {"tau": -1}}},
                                 IS_OPTION, ["tau", "-1"]),
    "derivative as text": (QP, {"derivative": "lpgd"}, IS_OPTION, ["LPGD()", "'lpgd'"]),
    "derivative's class": (QP, {"derivative": LPGD}, IS_OPTION, ["LPGD()"]),
    "on_failure": (QP, {"on_failure": "ignore"}, IS_OPTION, ['"raise"', '"nan"', "'ignore'"]),
    "time_limit 0": (QP, {"time_limit": 0}, IS_OPTION, ["time_limit", "> 0", "0"]),
    "time_limit as text": (QP, {"time_limit": "1 s"}, IS_OPTION, ["time_limit", "'1 s'"]),
    "no time limit": (QP, {"solver": "ECOS", "time_limit": 1}, IS_OPTION, ["ECOS", "time limit"]),
    "executor": (QP, {"executor": 4}, IS_OPTION, ["executor", "4"]),
    "power cones exactly": (POWER, {"derivative": Implicit()}, DerivativeFailed,
                            ["Implicit()", "power cones", "LPGD()"]),
    "integers exactly": (INTEGER, {"derivative": Implicit()}, DerivativeFailed,
                         ["integer", "LPGD()"]),
    "the re-solves' solver": (SDP, {"derivative": LPGD(solver=ECOS())}, IS_UNSUITABLE,
                              ["ECOS", "PSD"]),
    "the re-solves' solver, unknown": (QP, {"derivative": LPGD(solver="MOZEK")}, IS_OPTION,
                                       ["'MOZEK'"]),
    "integers again": (INTEGER, {"derivative": LPGD(solver="CLARABEL")}, IS_UNSUITABLE,
                         ["CLARABEL", "integer"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "options", "error", "parts"), OPTIONS.values(), ids=OPTIONS.keys()
)
def test_options(where, options, error, parts):
    with pytest.raises(error) as caught:
        CvxpyLayer(where, where.parameters(), where.variables(), **options)
    assert isinstance(caught.value, CvxlpgdError)
    contains(caught.value, parts)


def test_a_solver_that_is_not_installed(monkeypatch):
    missing = [name for name in ("MOSEK", "COPT", "XPRESS") if name not in cp.installed_solvers()]
    assert missing
    for name in missing:
        with pytest.raises(SolverNotInstalled, match=f"{name}.*pip install .*choose another"):
            CvxpyLayer(QP, [a, b], [x], solver=name)
        assert issubclass(SolverNotInstalled, ImportError)
    monkeypatch.setattr(SCS, "requires", ("no_such_module",))
    with pytest.raises(SolverNotInstalled, match="pip install no_such_module"):
        CvxpyLayer(QP, [a, b], [x], solver="SCS")


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (lambda: LPGD(tau=0), ["tau", "> 0"]),
        (lambda: LPGD(tau=-1.0), ["tau", "> 0", "-1.0"]),
        (lambda: LPGD(tau=float("nan")), ["tau", "finite"]),
        (lambda: LPGD(tau=float("inf")), ["tau", "finite"]),
        (lambda: LPGD(tau="small"), ["tau", '"auto"', "'small'"]),
        (lambda: LPGD(tau=None), ["tau", "None"]),
        (lambda: LPGD(tau=np.array([1.0, 0.0])), ["tau", "> 0"]),
        (lambda: LPGD(tau=torch.ones(2, requires_grad=True)), ["tau"]),
        (lambda: LPGD(tau={}), ["tau"]),
        (lambda: LPGD(rho=-1), ["rho", ">= 0", "-1"]),
        (lambda: LPGD(rho="1"), ["rho", "'1'"]),
        (lambda: LPGD(rho=float("inf")), ["rho"]),
        (lambda: LPGD(rho=True), ["rho", "True"]),
        (lambda: LPGD(side="left"), ["side", "average", "lower", "upper", "'left'"]),
        (lambda: LPGD(side=None), ["side", "None"]),
        (lambda: Implicit(mode="qr"), ["mode", "lsqr", "'qr'"]),
        (lambda: Implicit(rho=-0.1), ["rho", "-0.1"]),
        (lambda: FiniteDifference(step=0), ["step", "> 0"]),
        (lambda: FiniteDifference(step="small"), ["step", "'small'"]),
        (lambda: SCS(max_iter=10), ["SCS", "'max_iter'", "max_iters"]),
        (lambda: Clarabel(eps=0), ["CLARABEL", "tol_gap_abs"]),
        (lambda: ECOS(time_limit=1), ["ECOS", "time limit"]),
        (lambda: CVXPY("MOZEK"), ["'MOZEK'", "SCS"]),
        (lambda: CVXPY("SCS", max_iter=10), ["SCS", "'max_iter'"]),
    ],
)
def test_values_of_methods_and_solvers(build, parts):
    with pytest.raises(InvalidOption) as caught:
        build()
    contains(caught.value, parts)


def test_tau_arrays_must_fit_the_batch():
    values = torch.ones(4, 2), torch.zeros(2)
    CvxpyLayer(QP, [a, b], [x], derivative=LPGD(tau=np.ones((1, 4))[0]))(*values)
    with pytest.raises(InvalidOption, match=r"tau has shape \(3,\).*batch shape \(4,\)"):
        CvxpyLayer(QP, [a, b], [x], derivative=LPGD(tau=np.ones(3)))(*values)
    with pytest.raises(InvalidOption, match="tau must be > 0"):
        CvxpyLayer(QP, [a, b], [x], derivative=LPGD(tau=lambda: -1.0))(*values)


def test_warm_starts():
    layer, values = CvxpyLayer(QP, [a, b], [x], solver="SCS"), (many, ones)
    layer(*values)
    start = layer.info.solution
    with pytest.raises(InvalidInput, match=r"5 samples.*has 1 samples"):
        layer(ones, ones, warm_start=start)
    for wrong in (None, 1.0, "yes", layer.info):
        with pytest.raises(
            InvalidOption, match=r"warm_start must be True, False or an info.solution"
        ):
            layer(*values, warm_start=wrong)
    stranger = CvxpyLayer(SOC, [a], [x])
    stranger(many)
    with pytest.raises(InvalidInput, match="another problem"):
        layer(*values, warm_start=stranger.info.solution)


@pytest.mark.parametrize(
    ("solver", "args", "parts"),
    [
        (None, {"no_such": 1}, ["'no_such'", "CLARABEL"]),
        ("SCS", {"max_iter": 5}, ["SCS", "max_iters"]),
        ("SCS", {"solve_method": "ECOS"}, ['"solve_method"']),
        ("CLARABEL", {"max_iter": "many"}, ["CLARABEL", "max_iter", "'many'"]),
        ("CLARABEL", {"max_iter": -5}, ["CLARABEL", "max_iter", "-5"]),
        (None, [("eps", 1)], ["solver_args", "list"]),
    ],
)
def test_solver_args_of_a_call(solver, args, parts):
    layer = CvxpyLayer(QP, [a, b], [x], solver=solver)
    with pytest.raises(InvalidOption) as caught:
        layer(ones, ones, solver_args=args)
    contains(caught.value, parts)
    layer(ones, ones)  # the layer is as it was


@pytest.mark.parametrize("settings", [{"side": "upper"}, {"mode": "dense"}, {"kappa": 1.0}, 3])
def test_a_mode_has_settings_of_its_own_only(settings):
    args = {"mode": "lpgd_left", "derivative_kwargs": settings}
    with pytest.raises(InvalidOption, match="derivative_kwargs"):
        CvxpyLayer(QP, [a, b], [x], solver_args=args)


def test_true_is_no_tau():
    with pytest.raises(InvalidOption, match="tau"):
        LPGD(tau=True)


def test_settings_of_a_layer_and_options_over_them():
    base = Settings(on_failure="nan", time_limit=5.0)
    layer = compile_layer(QP, [a, b], [x], base, time_limit=7.0)
    assert (layer.settings.on_failure, layer.settings.time_limit) == ("nan", 7.0)
    assert base.time_limit == 5.0
    with pytest.raises(InvalidOption, match=r"settings must be Settings\(...\), not 'SCS'"):
        compile_layer(QP, [a, b], [x], "SCS")
