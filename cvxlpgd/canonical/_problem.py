"""The caller's problem: checked, and copied so that nothing of the caller's is ever written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxlpgd.canonical import _hidden as hidden
from cvxlpgd.canonical._discipline import check_disciplined
from cvxlpgd.canonical._target import Own
from cvxlpgd.errors import InvalidProblem

_WRAPS = {"PSD": cp.psd_wrap, "NSD": lambda value: -cp.psd_wrap(-value)}


def check_lists(
    problem: Any, parameters: Any, variables: Any, gp: bool
) -> tuple[list[cp.Parameter], list[cp.Variable]]:
    """The lists of parameters and variables, each an honest part of the problem.

    Parameters
    ----------
    problem, parameters, variables : whatever the caller handed over
    gp : bool
        Whether the problem is to follow the rules of geometric programs.

    Raises
    ------
    InvalidProblem
        Not a problem; not lists; something listed twice, of another problem or complex.
    """
    if not isinstance(problem, cp.Problem):
        raise InvalidProblem(f"problem must be a cvxpy.Problem, not {type(problem).__name__}")
    for name, items, kind in (
        ("parameters", parameters, cp.Parameter),
        ("variables", variables, cp.Variable),
    ):
        if not isinstance(items, list | tuple):
            raise InvalidProblem(
                f"{name} must be provided as a list or tuple, not {type(items).__name__}"
            )
        for i, item in enumerate(items):
            if not isinstance(item, kind):
                hint = ""
                if isinstance(item, cp.constraints.Constraint):
                    hint = "; a constraint's dual variable is constraint.dual_variables[0]"
                raise InvalidProblem(
                    f"{name}[{i}] must be a cvxpy.{kind.__name__}, not {type(item).__name__}{hint}"
                )
        if len({item.id for item in items}) < len(items):
            raise InvalidProblem(f"{name} lists the same {kind.__name__.lower()} twice")
    _check_members(problem, parameters, variables)
    for leaf in hidden.parameters(problem) + problem.variables():
        if leaf.is_complex():
            raise InvalidProblem(f"{_name(leaf)} is complex; write real and imaginary parts")
        if not leaf.size:
            raise InvalidProblem(f"{_name(leaf)} has no entries; leave it out")
    check_disciplined(problem, gp)
    return list(parameters), list(variables)


def _check_members(problem: cp.Problem, parameters: Any, variables: Any) -> None:
    own = {p.id: p for p in hidden.parameters(problem)}
    for i, parameter in enumerate(parameters):
        if parameter.id not in own:
            raise InvalidProblem(
                f"parameters[{i}], {_name(parameter)}, is not a parameter of the problem, which "
                f"has {', '.join(_name(p) for p in own.values()) or 'none'}"
            )
    if not problem.variables():
        raise InvalidProblem("the problem has no variables, so there is nothing to solve")
    duals = {v.id for c in problem.constraints for v in c.dual_variables}
    known = {v.id for v in problem.variables()} | duals
    for i, variable in enumerate(variables):
        if variable.id not in known:
            raise InvalidProblem(
                f"variables[{i}], {_name(variable)}, is neither a variable of the problem nor a "
                "dual variable of one of its constraints (constraint.dual_variables[k])"
            )


def substitute(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> cp.Problem:
    """A problem of our own in which parameters that are not listed are their present values.

    Constraints and variables keep their identities, so they and their dual variables can be asked
    for. A parameter that CVXPY keeps where a copy does not reach, such as an exponent, stays; its
    value is read when the map is built.

    Raises
    ------
    InvalidProblem
        For a parameter that is neither listed nor has a value, or is computed by a callback.
    """
    ids = {p.id for p in parameters}
    constants: dict[int, Any] = {}
    for parameter in hidden.parameters(problem):
        if parameter.id in ids:
            continue
        if isinstance(parameter, cp.CallbackParam):
            raise InvalidProblem(
                f"{_name(parameter)} is not listed in parameters, and would keep the value that "
                "its callback returns now: list it, and pass what the callback returns"
            )
        if parameter.value is None:
            raise InvalidProblem(
                f"{_name(parameter)} is not listed in parameters and has no value to read"
            )
        value = parameter.value
        constant = cp.Constant(value if sp.issparse(value) else np.array(value))
        wrap = next((w for name, w in _WRAPS.items() if parameter.attributes[name]), None)
        constants[id(parameter)] = wrap(constant) if wrap else constant
    if not constants:
        return Own(problem.objective, problem.constraints)
    for variable in problem.variables():
        bounds = variable.attributes["bounds"]
        if bounds is not None and any(isinstance(bound, cp.Expression) for bound in bounds):
            fixed = [_fix_bound(bound, constants) for bound in bounds]
            attributes = variable.attributes | {"bounds": fixed}
            constants[id(variable)] = cp.Variable(
                variable.shape, name=variable.name(), var_id=variable.id, **attributes
            )
    constants = hidden.copies(problem, constants)
    constraints = [constraint.tree_copy(id_objects=constants) for constraint in problem.constraints]
    for copied, constraint in zip(constraints, problem.constraints, strict=True):
        copied.dual_variables = constraint.dual_variables
    return Own(problem.objective.tree_copy(id_objects=constants), constraints)


def _fix_bound(bound: Any, constants: dict[int, Any]) -> Any:
    """A variable's bound with the constants in it; a plain array if no parameter is left."""
    if not isinstance(bound, cp.Expression):
        return bound
    copied = bound.tree_copy(id_objects=constants)
    return copied if copied.parameters() else copied.value


def _name(leaf: Any) -> str:
    return f"{type(leaf).__name__.lower()} {leaf.name()!r} of shape {leaf.shape}"
