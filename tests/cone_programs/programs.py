"""Random cone programs with known cones, in the conventions of SCS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from cvxlpgd.cone_programs import ConeStructure, from_scs

EYE = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]  # of order 3, by its lower triangle


@dataclass(frozen=True)
class Case:
    """A cone program as SCS has it."""

    data: dict[str, Any]
    cone: dict[str, Any]

    def structure(self) -> ConeStructure:
        return from_scs(self.data, self.cone)

    @property
    def values(self) -> list[Any]:
        """The inputs' values, matrices by their entries."""
        names = self.structure().names
        return [getattr(self.data[name], "data", None) if name in "PA" else self.data[name]
                for name in names]  # fmt: skip


# (key, size, a point inside of the cone, a point inside of its dual)
ALPHA = 0.3
PARTS: dict[str, tuple[str, Any, list[float], list[float]]] = {
    "z": ("z", 2, [0.0, 0.0], [0.4, -0.7]),
    "l": ("l", 5, [1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0, 0.5]),
    "q": ("q", [4], [2.0, 0.5, 0.0, -1.0], [1.0, 0.0, 0.0, 0.3]),
    "s": ("s", [3], EYE, EYE),
    "ep": ("ep", 1, [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]),
    "ed": ("ed", 1, [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]),
    "p": ("p", [ALPHA], [1.0, 1.0, 0.2], [1.0, 1.0, 0.2]),
    "-p": ("p", [-ALPHA], [1.0, 1.0, 0.2], [1.0, 1.0, 0.2]),
}


def case(parts: str, quadratic: bool, seed: int = 0, scale: float = 1.0, n: int = 5) -> Case:
    """A strictly feasible and bounded program with these parts, "z l q"; A's rows times `scale`."""
    rng = np.random.default_rng(seed)
    chosen = [PARTS[name] for name in parts.split()]
    inside = np.concatenate([part[2] for part in chosen])
    dual = np.concatenate([part[3] for part in chosen])
    m = len(inside)
    A = sp.csc_matrix(scale * rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.8))
    x = rng.normal(size=n)
    R = rng.normal(size=(n, n))
    P = sp.csc_matrix(R @ R.T / n) if quadratic else None
    b, c = A @ x + scale * inside, -(A.T @ dual)
    if P is not None:
        c = c - P @ x + 0.1 * rng.normal(size=n)
    cone: dict[str, Any] = {}
    for key, size, *_ in chosen:
        cone[key] = size
    data = {"A": A, "b": b, "c": c} | ({"P": sp.triu(P, format="csc")} if quadratic else {})
    return Case(data, cone)
