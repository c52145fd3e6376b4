"""Atoms that keep something where CVXPY's own walks through a problem do not reach it.

A perspective keeps its function, and a support function its set; neither is among their arguments.
CVXPY does not see the parameters in a perspective's function and in a support function's argument.
It can copy neither, nor an indicator, whose arguments are constraints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cvxpy as cp
from cvxpy.atoms.suppfunc import SuppFuncAtom
from cvxpy.transforms.indicator import indicator
from cvxpy.utilities import scopes

from cvxlpgd.canonical._target import Own, compile_problem
from cvxlpgd.errors import InvalidProblem

_KEEPING = cp.perspective, SuppFuncAtom, indicator


def check(problem: cp.Problem) -> None:
    """Refuse what CVXPY would compile wrongly, or crash on, without a word.

    Raises
    ------
    InvalidProblem
        For a parameter that stands in the argument of a support function only, for such an argument
        that is not DPP, and for a perspective of a function that CVXPY compiles wrongly.
    """
    seen = {p.id for p in problem.parameters()}
    for atom in _hiding_atoms(problem):
        if isinstance(atom, SuppFuncAtom):
            _check_argument(atom.args[0], seen)
        if isinstance(atom, cp.perspective) and not atom.f.parameters():  # else it is not DPP
            _check_function(atom)


def _check_argument(argument: Any, seen: set[int]) -> None:
    names = [p.name() for p in argument.parameters() if p.id not in seen]
    if names:
        raise InvalidProblem(
            f"the parameter {names[0]!r} is in the argument of a support function and nowhere "
            f"else, where CVXPY does not see it; add a variable that is equal to {argument} and "
            "give the support function that"
        )
    with scopes.dpp_scope():
        if not argument.is_affine():
            raise InvalidProblem(
                f"Problem must be DPP. The argument {argument} of a support function is not"
            )


def _check_function(atom: Any) -> None:
    """CVXPY takes the second-order cones of one constraint for a single one, and x / s for x."""
    hint = f"CVXPY compiles {atom} of {atom.f} wrongly, if at all"
    if atom.f.is_affine():
        raise InvalidProblem(f"{hint}: the perspective of a'x + b is a'x + b s; write that")
    if any(v.attributes["bounds"] is not None for v in atom.f.variables()):
        raise InvalidProblem(
            f"{hint}: it takes the bounds of the variables x for bounds of x / s; write those "
            "bounds as constraints"
        )
    problem = Own((cp.Minimize if atom.f.is_convex() else cp.Maximize)(atom.f))
    try:
        data, _, _ = compile_problem(problem, solver_opts={"use_quad_obj": False})
    except Exception:  # compiling the whole problem will fail too, and say why
        return
    cones = [c for c in data["program"].constraints if isinstance(c, cp.SOC)]
    if any(len(c.cone_sizes()) > 1 for c in cones):
        raise InvalidProblem(f"{hint}: write the perspective by other atoms, such as quad_over_lin")


def holds_support_function(expression: Any) -> bool:
    """Whether there is one in it: to evaluate it is to solve a problem of the user's."""
    return any(isinstance(atom, SuppFuncAtom) for atom in nodes(expression))


def copies(problem: cp.Problem, leaves: dict[int, Any]) -> dict[int, Any]:
    """Leaves of ours and copies with them of those atoms, which CVXPY cannot make, by id()."""
    by_id = dict(leaves)
    for atom in _hiding_atoms(problem):
        arguments = [argument.tree_copy(id_objects=by_id) for argument in atom.args]
        if isinstance(atom, SuppFuncAtom):
            by_id[id(atom)] = SuppFuncAtom(arguments[0], atom._parent)
        elif isinstance(atom, indicator):
            by_id[id(atom)] = indicator(arguments, atom.err_tol)
        else:
            kept = (atom.f, atom.f_recession)
            f, recession = (None if v is None else v.tree_copy(id_objects=by_id) for v in kept)
            by_id[id(atom)] = cp.perspective(f, arguments[0], recession)
    return by_id


def parameters(problem: cp.Problem) -> list[cp.Parameter]:
    """All of a problem's parameters, those that CVXPY does not see too."""
    by_id = {p.id: p for p in problem.parameters()}
    for atom in _hiding_atoms(problem):
        inside = [atom.f] if isinstance(atom, cp.perspective) else atom.args
        by_id |= {p.id: p for part in inside for p in part.parameters()}
    return list(by_id.values())


def _hiding_atoms(problem: cp.Problem) -> Iterator[Any]:
    for part in (problem.objective, *problem.constraints):
        yield from (v for v in nodes(part) if isinstance(v, _KEEPING))


def nodes(expression: Any) -> Iterator[Any]:
    """All parts of an expression, inner ones first."""
    inside = [expression.f] if isinstance(expression, cp.perspective) else []
    for argument in (*inside, *getattr(expression, "args", ())):
        yield from nodes(argument)
    yield expression
