"""Places in derivatives, solvers, schedules, losses and `compare`."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np

from cvxlpgd import LPGD, FiniteDifference, Implicit, compare
from cvxlpgd.losses import FenchelYoung, SPOPlus, StructuredHinge, StructuredPerceptron
from cvxlpgd.numpy import CvxpyLayer
from cvxlpgd.schedules import Adaptive, Exponential, Relative, Schedule
from cvxlpgd.solvers import CVXPY, ECOS, SCS, Clarabel, HiGHS

from .layers import PROBLEM, a, b, x
from .values import Malformed, spoiled

NUMBERS = ["3", "2.5"]


def derivatives() -> list[Malformed]:
    """Arguments of LPGD, Implicit and FiniteDifference."""

    def read(tau: Any) -> Any:
        made = CvxpyLayer(PROBLEM, [a, b], [x], derivative=LPGD(tau=lambda: tau))
        return made(np.ones(2), np.ones(2))

    def used(solver: Any) -> Any:
        return CvxpyLayer(PROBLEM, [a, b], [x], derivative=LPGD(solver=solver))

    return [
        *spoiled("LPGD tau", lambda v: LPGD(tau=v), "tau",
                 fine=[*NUMBERS, "function", "class", "long array", "cube", "long tensor",
                       "empty list"]),
        *spoiled("LPGD tau read", read, "tau", fine=[*NUMBERS]),
        *spoiled("LPGD rho", lambda v: LPGD(rho=v), "rho", fine=["0", *NUMBERS]),
        *spoiled("LPGD side", lambda v: LPGD(side=v), "side"),
        *spoiled("LPGD solver", used, "solver", fine=["None"]),
        *spoiled("LPGD integer_constraints", lambda v: LPGD(integer_constraints=v),
                 "integer_constraints", fine=["True"]),
        *spoiled("Implicit mode", lambda v: Implicit(mode=v), "mode"),
        *spoiled("Implicit rho", lambda v: Implicit(rho=v), "rho", fine=["0", *NUMBERS]),
        *spoiled("FiniteDifference step", lambda v: FiniteDifference(step=v), "step",
                 fine=NUMBERS),
    ]  # fmt: skip


def solvers() -> list[Malformed]:
    """Options of solvers."""
    cases = [
        case
        for make in (SCS, Clarabel, ECOS, HiGHS)
        for case in spoiled(f"{make.__name__} eps", lambda v, f=make: f(eps=v), make.name,
                            fine=NUMBERS)
    ]  # fmt: skip
    return cases + spoiled("CVXPY name", CVXPY, "solver", "name")


def schedules() -> list[Malformed]:
    """Arguments of schedules."""
    adaptive, schedule = Adaptive(), Schedule(Exponential(1.0, 0.5))
    above = ["3", "2.5"]
    return [
        *spoiled("Relative kappa", Relative, "kappa", fine=NUMBERS),
        *spoiled("Exponential start", lambda v: Exponential(v, 0.5), "start", fine=NUMBERS),
        *spoiled("Exponential factor", lambda v: Exponential(1.0, v), "factor", fine=NUMBERS),
        *spoiled("Exponential least", lambda v: Exponential(1.0, 0.5, v), "least",
                 fine=["0", *NUMBERS]),
        *spoiled("Exponential relative", lambda v: Exponential(1.0, 0.5, 0.0, v), "relative",
                 fine=["True"]),
        *spoiled("Schedule function", Schedule, "schedule", fine=["function", "class"]),
        *spoiled("Schedule state", schedule.load_state_dict, "state", "steps", more={
            "steps": {"steps": -1}, "more": {"steps": 1, "kappa": 2.0}}),
        *spoiled("Adaptive state", adaptive.load_state_dict, "state", "kappa", "share", more={
            "kappa": {"kappa": -1.0, "share": 0.5}, "share": {"kappa": 1.0, "share": "a"}}),
        *spoiled("Adaptive update", adaptive.update, "info"),
        *spoiled("Adaptive target", lambda v: Adaptive(target=v), "target"),
        *spoiled("Adaptive rate", lambda v: Adaptive(rate=v), "rate"),
        *spoiled("Adaptive factor", lambda v: Adaptive(factor=v), "factor", fine=above),
        *spoiled("Adaptive start", lambda v: Adaptive(start=v), "start", fine=NUMBERS),
        *spoiled("Adaptive least", lambda v: Adaptive(least=v), "least", fine=NUMBERS),
        *spoiled("Adaptive most", lambda v: Adaptive(most=v), "most", fine=NUMBERS),
    ]  # fmt: skip


def losses() -> list[Malformed]:
    """Arguments of losses."""
    y, c = cp.Variable(2, name="y"), cp.Parameter(2, name="c")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ y), [y >= 0, cp.sum(y) == 1]), [c], [y])
    cost, target = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    cases = []
    for loss in (FenchelYoung, StructuredPerceptron, StructuredHinge, SPOPlus):
        name = loss.__name__
        cases += spoiled(f"{name} layer", loss, "layer", "CvxpyLayer")
        cases += spoiled(f"{name} reduction", lambda v, f=loss: f(layer, reduction=v), "reduction")
        made = loss(layer)
        second = "target" if loss is not SPOPlus else "true_cost"
        cases += spoiled(f"{name} cost", lambda v, f=made: f(v, target), "value 0", "parameter 0",
                         "parameter c", "pred_cost", fine=["range", "constant"])  # fmt: skip
        cases += spoiled(
            f"{name} {second}", lambda v, f=made: f(cost, v), "target", "true_cost", "margin",
            "parameter c",
            fine=["range", "constant"] if loss is SPOPlus else ["range"],
        )  # fmt: skip
    hinge, spo = StructuredHinge, SPOPlus(layer)
    cases += spoiled("StructuredHinge margin", lambda v: hinge(layer, v), "margin", fine=NUMBERS)
    cases += spoiled("SPOPlus true_sol", lambda v: spo(cost, cost, v), "target", "true_sol",
                     fine=["None", "range"])  # fmt: skip
    many = {"no values": (), "one value": (cost,), "three values": (cost, target, target)}
    cases += [
        Malformed(f"FenchelYoung: {name}", lambda v=v: FenchelYoung(layer)(*v), ("expected",))
        for name, v in many.items()
    ]
    return cases


def comparisons() -> list[Malformed]:
    """Arguments of `compare`."""
    values = [np.array([1.0, 2.0]), np.ones(2)]

    def run(**options: Any) -> Any:
        given = {"problem": PROBLEM, "parameters": [a, b], "variables": [x], "values": values}
        return compare(**(given | {"derivatives": [LPGD()]} | options))

    return [
        *spoiled("compare problem", lambda v: run(problem=v), "problem", fine=["problem"]),
        *spoiled("compare parameters", lambda v: run(parameters=v), "parameter"),
        *spoiled("compare variables", lambda v: run(variables=v), "variable", "cotangent"),
        *spoiled("compare values", lambda v: run(values=v), "value", "parameter 0", "expected 2"),
        *spoiled("compare value 0", lambda v: run(values=[v, np.ones(2)]), "value 0", "no sample",
                 "parameter 0", fine=["range", "constant"]),
        *spoiled("compare derivatives", lambda v: run(derivatives=v), "derivative",
                 fine=["None", "empty list"]),
        *spoiled("compare reference", lambda v: run(reference=v), "reference"),
        *spoiled("compare cotangents", lambda v: run(cotangents=v), "cotangent", fine=["None"],
                 more={"too long": [np.ones(3)], "texts": [["a", "b"]]}),
        *spoiled("compare loss", lambda v: run(loss=v), "loss", fine=["None", "class"]),
        *spoiled("compare solver", lambda v: run(solver=v), "solver", fine=["None"]),
        *spoiled("compare taus", lambda v: run(taus=v, derivatives=None), "tau",
                 fine=["None", "empty list", "long array"]),
        *spoiled("compare gp", lambda v: run(gp=v), "gp", fine=["True"]),
    ]  # fmt: skip
