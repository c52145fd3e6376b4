"""Integer programs: which derivatives they have, and the multipliers of their continuous part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cvxlpgd.derivatives.ends import Ends
from cvxlpgd.errors import DerivativeFailed
from cvxlpgd.program import ConeProgram, Data, Point, Structure
from cvxlpgd.program.restriction import Restriction
from cvxlpgd.solvers.choose.choice import choose_solver
from cvxlpgd.solvers.run.solve import solve


def refuse_rows(structure: Structure, entries: Data) -> None:
    """Raise DerivativeFailed where constraint data of an integer program need a gradient."""
    if structure.mixed_integer and len(entries.A) + len(entries.b):
        raise DerivativeFailed(
            "an integer program has no dual variables, so LPGD has gradients for parameters of its "
            "objective only; a parameter of its constraints needs one here: detach it, or ask for "
            "the multipliers of the program with its integers fixed, a heuristic: "
            "LPGD(integer_constraints=True)"
        )


def with_multipliers(program: ConeProgram, z: Point, ends: Ends) -> tuple[Point, Ends]:
    """A point and its perturbed ones, with the duals of the programs of integers fixed there.

    They are 0 where there is nothing else than integers.
    """
    structure = program.structure
    if not structure.mixed_integer:
        return z, ends
    whole = np.union1d(structure.integer, structure.boolean)
    restriction = Restriction.of(structure, whole)
    y, known = _multipliers(restriction, program, z)
    y_ends, known_ends = _multipliers(restriction, ends.programs(), ends.point)
    known = known & known_ends.reshape(ends.usable.shape)
    messages = [
        text if has else "the program with its integers fixed has no solution"
        for text, has in zip(ends.info.messages, known.all(axis=0), strict=True)
    ]
    usable = ends.usable & known
    info = replace(ends.info, ok=usable.all(axis=0), messages=tuple(messages))
    point = replace(ends.point, y=y_ends)
    return replace(z, y=y), ends._replace(point=point, usable=usable, info=info)


def _multipliers(
    restriction: Restriction, program: ConeProgram, z: Point
) -> tuple[np.ndarray, np.ndarray]:
    """The duals of what is left when the integers are fixed at z, and where there are any."""
    if not len(restriction.free):
        return z.y * 0.0, np.ones(len(z.y), dtype=bool)
    x = z.x.copy()
    x[:, restriction.fixed] = np.rint(x[:, restriction.fixed])
    rest, _ = restriction.program(program, x)
    solution = solve(choose_solver(None, restriction.left, {}), rest)
    return np.where(solution.ok[:, None], solution.point.y, 0.0), solution.ok
