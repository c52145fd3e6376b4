"""Quadratic programs as qpth and qpsolvers have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cone_programs.inputs import Input, matrix, symmetric, vector
from cvxlpgd.cone_programs.rows import Rows, as_is
from cvxlpgd.cone_programs.structure import ConeStructure, Term, linear, plain, quadratic
from cvxlpgd.cones import Cone, NonNeg, Zero
from cvxlpgd.errors import InvalidProblem


def from_qp(
    P: Any,
    q: Any,
    G: Any = None,
    h: Any = None,
    A: Any = None,
    b: Any = None,
    lb: Any = None,
    ub: Any = None,
) -> ConeStructure:
    """A quadratic program with the arguments of `qpsolvers.solve_qp`, or of qpth's QPFunction.

        minimize ½x'Px + q'x   subject to   Gx <= h,  Ax = b,  lb <= x <= ub

    Its inputs are those that are given, in this order. The rows of a layer's y and s are those of
    A, then of G, then the finite lower bounds, then the finite upper bounds.

    Parameters
    ----------
    P : SciPy matrix or array (n, n), or None
        Symmetric, or one triangle as a SciPy matrix. None is a linear program.
    q : array (n,), or None
        As h and b, None is a vector that a layer must list.
    G, A : SciPy matrices or arrays (rows, n), optional
        A SciPy matrix stands for its stored entries, zeros too, which alone may change.
    h, b : arrays (rows,)
    lb, ub : arrays (n,), optional
        Entries that are infinite here are no bounds, and a layer does not read them.

    Raises
    ------
    InvalidProblem
        For sizes that do not fit.
    """
    G, A = (None if v is None or 0 in np.shape(v) else v for v in (G, A))
    n = _variables(P=P, q=q, G=G, A=A, lb=lb, ub=ub)
    inputs: list[Input] = []
    terms: dict[str, list[Term]] = {"P": [], "q": [], "A": [], "b": []}

    def add(own: Input) -> Input:
        inputs.append(own)
        return own

    if P is not None:
        terms["P"].append(quadratic(add(symmetric("P", P, n))))
    terms["q"].append(plain(add(vector("q", q, n))))
    equations = np.shape(A)[0] if A is not None else 0
    first = equations
    for name, M, vector_name, v, start in (("G", G, "h", h, equations), ("A", A, "b", b, 0)):
        if M is None:
            if v is not None and np.size(v):
                raise InvalidProblem(f"{vector_name} is given without {name}")
            continue
        own = add(matrix(name, M, (None, n)))
        terms["A"].append(linear(own, start))
        terms["b"].append(plain(add(vector(vector_name, v, own.size[0])), start))
        first = max(first, start + own.size[0])
    for name, v, sign in (("lb", lb, -1.0), ("ub", ub, 1.0)):
        if v is None:
            continue
        bound = plain(add(vector(name, v, n, sign * np.inf)), first, sign)
        ones = np.full(len(bound.rows), sign)
        terms["A"].append(Term(None, bound.rows, bound.columns, bound.columns, ones))
        terms["b"].append(bound)
        first += len(ones)
    cones: list[Cone] = [Zero(equations), NonNeg(first - equations)]
    rows = Rows.of(as_is(cone) for cone in cones if cone.rows)
    return ConeStructure(n, first, rows, tuple(inputs), terms)


def _variables(**given: Any) -> int:
    """The number of variables, which all of these have; each's last axis."""
    for value in given.values():
        if value is not None:
            shape = value.shape if sp.issparse(value) else np.shape(value)
            if shape:
                return int(shape[-1])
    raise InvalidProblem("a quadratic program needs P, q, G, A, lb or ub, to know its size")
