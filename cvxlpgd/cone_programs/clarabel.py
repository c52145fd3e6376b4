"""Cone programs as Clarabel has them: a list of cones in any order, upper triangles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cvxlpgd.cone_programs.inputs import matrix, symmetric, vector
from cvxlpgd.cone_programs.rows import Placed, Rows, as_is, by_upper_triangle, power
from cvxlpgd.cone_programs.structure import ConeStructure, linear, plain, quadratic
from cvxlpgd.cones import SOC, Exp, NonNeg, Zero
from cvxlpgd.errors import InvalidProblem

EXPONENT = "\N{GREEK SMALL LETTER ALPHA}"  # the attribute of Clarabel's power cone

# By the names of Clarabel's classes: the library itself need not be installed.
_CONES: dict[str, Callable[[Any], Placed]] = {
    "ZeroConeT": lambda cone: as_is(Zero(cone.dim)),
    "NonnegativeConeT": lambda cone: as_is(NonNeg(cone.dim)),
    "SecondOrderConeT": lambda cone: as_is(SOC(cone.dim)),
    "PSDTriangleConeT": lambda cone: by_upper_triangle(cone.dim),
    "ExponentialConeT": lambda cone: as_is(Exp()),
    "PowerConeT": lambda cone: power(getattr(cone, EXPONENT)),
}


def from_clarabel(P: Any, q: Any, A: Any, b: Any, cones: Iterable[Any]) -> ConeStructure:
    """A cone program with the arguments of `clarabel.DefaultSolver(P, q, A, b, cones, settings)`.

        minimize ½x'Px + q'x   subject to   Ax + s = b,  s in K

    Its inputs are P, q, A, b, in this order; without P it is None, and no input.

    Parameters
    ----------
    P, A : SciPy matrices or arrays (n, n), (m, n)
        A SciPy matrix stands for its stored entries, zeros too, which alone may change. P is the
        upper triangle, or symmetric.
    q, b : arrays (n,), (m,), or None
        None is a vector that a layer must list.
    cones : list of Clarabel's cones
        In the order of the rows, which is any. Semidefinite rows are the upper triangle, column by
        column, off-diagonal entries times √2.

    Raises
    ------
    InvalidProblem
        For other cones, such as GenPowerConeT, or sizes that do not fit.

    References
    ----------
    https://clarabel.org/stable/python/getting_started_py/
    """
    own = matrix("A", A, (None, None))
    m, n = own.size
    quadratics = [] if P is None else [symmetric("P", P, n)]
    of_q, of_b = vector("q", q, n), vector("b", b, m)
    rows = Rows.of(_placed(cones))
    if len(rows.order) != m:
        raise InvalidProblem(f"the cones have {len(rows.order)} rows, and A has {m}")
    terms = {
        "P": [quadratic(each) for each in quadratics],
        "q": [plain(of_q)],
        "A": [linear(own)],
        "b": [plain(of_b)],
    }
    return ConeStructure(n, m, rows, (*quadratics, of_q, own, of_b), terms)


def _placed(cones: Iterable[Any]) -> list[Placed]:
    if not isinstance(cones, list | tuple):
        raise InvalidProblem(f"cones must be a list of Clarabel's cones, not {cones!r}")
    placed = []
    for cone in cones:
        name = type(cone).__name__
        if name not in _CONES:
            raise InvalidProblem(f"cvxlpgd has no {name}; it takes Clarabel's {', '.join(_CONES)}")
        placed.append(_CONES[name](cone))
    return [each for each in placed if each.cone.rows]
