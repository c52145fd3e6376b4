"""Whether a problem keeps CVXPY's rules, DCP, DGP and DPP, and if not, which part breaks them.

An expression breaks a rule where its arguments keep it and it does not: messages name these
innermost ones, as their author wrote them, and what to try.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cvxpy as cp
from cvxpy.utilities import scopes

from cvxlpgd.canonical import _hidden as hidden
from cvxlpgd.canonical._spelling import spell
from cvxlpgd.errors import InvalidProblem

LISTED = 3  # parts in one message

_REPLACE = (
    "drop the constraint or put a convex one in its place, such as its linearization at a point "
    "that is a parameter"
)


def check_disciplined(problem: cp.Problem, gp: bool) -> None:
    """Raise InvalidProblem, naming parts and what to try, unless the problem is DCP, or DGP."""
    rule = "is_dgp" if gp else "is_dcp"
    if getattr(problem, rule)():
        return
    breaches = dict(_breaches(problem, rule))  # each once
    texts, tries = list(breaches)[:LISTED], dict.fromkeys(list(breaches.values())[:LISTED])
    if len(breaches) > LISTED:
        texts.append(f"and {len(breaches) - LISTED} more")
    if gp:
        tries = {
            "positive variables and parameters (pos=True), which geometric programs add, multiply, "
            "divide and take powers of, but never subtract; or leave out gp=True": None
        }
    elif problem.is_dgp():
        tries = {"gp=True, as it follows the DGP rules": None}
    elif problem.is_dqcp():
        texts[-1] += " (it is quasiconvex, but layers take convex problems only)"
    raise InvalidProblem(
        f"the problem does not follow the {rule[-3:].upper()} rules: {'; '.join(texts)}. "
        f"What to try: {'; '.join(tries)}."
    )


def _breaches(problem: cp.Problem, rule: str) -> Iterator[tuple[str, str]]:
    """What breaks the rule, "is_dcp" or "is_dgp", part by part, and what to try."""
    for part in (problem.objective, *problem.constraints):
        if getattr(part, rule)():
            continue
        objective = part is problem.objective
        where = "the objective" if objective else f"the constraint {spell(part)}"
        inner = [expression for side in part.args for expression in _innermost(side, rule)]
        log = "log-log " if rule == "is_dgp" else ""
        for expression in inner:
            text = f"{spell(expression)} in {where} is neither {log}convex nor {log}concave"
            yield text, _hint(expression)
        if not inner:
            yield _of_objective(part, log) if objective else _of_constraint(part, log)


def _innermost(expression: Any, rule: str) -> list[Any]:
    """The parts of an expression that break the rule though their own arguments keep it."""
    inner = [part for argument in expression.args for part in _innermost(argument, rule)]
    return inner or ([] if getattr(expression, rule)() else [expression])


def _of_objective(objective: Any, log: str) -> tuple[str, str]:
    """An objective whose curvature is known and wrong, and what to try."""
    lowers, expression = isinstance(objective, cp.Minimize), objective.args[0]
    verb, other = ("minimizes", "maximized") if lowers else ("maximizes", "minimized")
    text = f"the objective {verb} {spell(expression)}, which is {log}{_curvature(expression, log)}"
    return f"{text} and can only be {other}", "check its sign, and whether it is to be minimized"


def _of_constraint(constraint: Any, log: str) -> tuple[str, str]:
    """A constraint between expressions whose curvatures are known and wrong, and what to try."""
    if isinstance(constraint, cp.constraints.Inequality):
        small, large = constraint.args
        wrong = _curvature(small, log) not in ("affine", "convex")
        side, wanted, part = ("smaller", "convex", small) if wrong else ("larger", "concave", large)
        text = f"{spell(part)}, the {side} side of the constraint {spell(constraint)}, is {log}"
        return f"{text}{_curvature(part, log)}, not {log}{wanted}", _REPLACE
    names = " and ".join(spell(p) for p in constraint.args if _curvature(p, log) != "affine")
    needed = "monomials" if log else "affine"
    text = f"the parts of the constraint {spell(constraint)} must be {needed}, but not {names}"
    return text, "an inequality, where it holds with equality at the optimum anyway"


def _curvature(expression: Any, log: str) -> str:
    """What is known of it: affine, convex or concave."""
    prefix = "is_log_log_" if log else "is_"
    kinds = ("affine", "convex", "concave")
    return next((kind for kind in kinds if getattr(expression, prefix + kind)()), "neither")


def _hint(part: Any) -> str:
    """What to try in place of an expression that is neither convex nor concave."""
    kind, args = type(part).__name__, part.args
    constant = [argument for argument in args if argument.is_constant()]
    if kind in ("multiply", "MulExpression"):
        if constant:
            return f"declare the sign of {spell(constant[0])}, by nonneg=True or nonpos=True"
        return (
            "make one factor of a product a parameter, or write squares as cp.square(x) and "
            "cp.quad_form(x, P)"
        )
    if kind == "QuadForm" and args[1].parameters():
        return f"declare {spell(args[1])} semidefinite, by PSD=True or NSD=True"
    if kind == "QuadForm":
        return "a semidefinite matrix; cp.psd_wrap, where it is semidefinite up to rounding"
    if kind == "DivExpression" and args[1].parameters():
        return f"a parameter that is 1 over {spell(args[1])}, declared pos=True, to multiply by"
    if kind == "DivExpression":
        return "cp.inv_pos(y) for 1 / y, or cp.quad_over_lin(x, y) for x'x / y, where y > 0"
    return "other atoms of CVXPY, such as cp.norm(x) for cp.sqrt(cp.sum_squares(x))"


def check_dpp(problem: cp.Problem, gp: bool) -> None:
    """Raise InvalidProblem, naming an expression and what to try, unless the problem is DPP."""
    hidden.check(problem)
    context, rule = ("dgp", "is_dgp") if gp else ("dcp", "is_dcp")
    if problem.is_dpp(context, quad_form_dpp="qp"):
        return
    where, culprit = _first_not_dpp(problem, rule)
    raise InvalidProblem(
        f"Problem must be DPP. The expression {spell(culprit)} in the {where} is not: "
        f"{_remedy(culprit)}. Or leave its parameter out of `parameters`, which fixes its value."
    )


def _first_not_dpp(problem: cp.Problem, rule: str) -> tuple[str, Any]:
    """Where a part stands that is not DPP, and the part; the innermost one where there is one."""
    for part in (problem.objective, *problem.constraints):
        objective = part is problem.objective
        allowed = scopes.quad_form_dpp_scope if objective else scopes.dpp_scope
        with scopes.dpp_scope(), allowed():
            parts = [inner for side in part.args for inner in _innermost(side, rule)]
            breaks = bool(parts) or not getattr(part, rule)()
        if breaks:
            whole = part.args[0] if objective else part
            return "objective" if objective else f"constraint {spell(part)}", (*parts, whole)[0]
    return "problem", problem.objective.args[0]


def _remedy(part: Any) -> str:
    """What to try in place of an expression that is not DPP."""
    kind, args = type(part).__name__, part.args
    if not part.variables():
        return (
            "a parameter must enter affinely, and no other may be its factor. Make the expression "
            "itself one parameter (or a cvxpy.CallbackParam that is listed too), and pass its value"
        )
    if kind == "QuadForm":
        return (
            "a matrix parameter is for the quadratic forms that the objective adds up. Write "
            "cp.sum_squares(L @ x) with a parameter L in its place, whose L' L is that matrix"
        )
    if kind == "DivExpression":
        return "a parameter cannot divide. Multiply by a parameter that is 1 over it"
    factors = [factor for factor in args if factor.parameters()]
    if kind in ("multiply", "MulExpression") and len(factors) > 1:
        return (
            "in each product only one factor may hold parameters. Make products of parameters one "
            "parameter, or put a new variable, equal to it by a constraint, in place of a factor"
        )
    made = next((spell(factor) for factor in factors if not factor.variables()), "what it enters")
    return f"a parameter must enter affinely. Make {made} itself a new parameter"
