"""Small programs written down directly."""

import numpy as np

from cvxlpgd.cones import Cone, NonNeg, Zero
from cvxlpgd.program import ConeProgram, Data, Structure
from cvxlpgd.program.pattern import Pattern


def dense(
    q: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    cones: tuple[Cone, ...],
    P: np.ndarray | None = None,
) -> ConeProgram:
    """A batch of programs from full arrays, each (batch or 1, ...), all entries stored."""
    m, n = A.shape[1:]

    def pattern(rows: int, cols: int) -> Pattern:
        return Pattern.of((rows, cols), *np.indices((rows, cols)).reshape(2, -1))

    none = np.zeros(0, dtype=int)
    quadratic = pattern(n, n) if P is not None else Pattern.of((n, n), [], [])
    entries = np.zeros((1, 0)) if P is None else np.swapaxes(P, 1, 2).reshape(len(P), -1)
    structure = Structure(
        quadratic, pattern(m, n), cones, none, none, Data(none, none, none, none), np.ones(n)
    )
    return ConeProgram(structure, Data(entries, q, np.swapaxes(A, 1, 2).reshape(len(A), -1), b))


def orthant(q: list[list[float]], b: list[list[float]], quadratic: bool) -> ConeProgram:
    """min q'x (+ x_1²/2), x_0 <= b_0, -x_0 <= b_1, x_1 = b_2."""
    A = np.array([[[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]])
    P = np.array([[[0.0, 0.0], [0.0, 1.0]]]) if quadratic else None
    rows = np.array(b, dtype=float)[:, [2, 0, 1]]
    return dense(np.array(q, dtype=float), A, rows, (Zero(1), NonNeg(2)), P)


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(A, b) of the unit flow from the first to the last node of a grid."""
    nodes = np.arange(side * side).reshape(side, side)
    right = np.stack([nodes[:, :-1].ravel(), nodes[:, 1:].ravel()], axis=1)
    down = np.stack([nodes[:-1].ravel(), nodes[1:].ravel()], axis=1)
    arcs = np.concatenate([right, down])
    A = np.zeros((side * side, len(arcs)))
    A[arcs[:, 0], np.arange(len(arcs))] = -1
    A[arcs[:, 1], np.arange(len(arcs))] = 1
    b = np.zeros(side * side)
    b[0], b[-1] = -1, 1
    return A, b


def sparse(q: np.ndarray, A: np.ndarray, b: np.ndarray, equalities: int) -> ConeProgram:
    """Linear programs of one matrix (m, n), q and b (batch or 1, ...); entries that are 0 are not
    stored, so that rows of one entry are bounds.
    """
    (m, n), none = A.shape, np.zeros(0, dtype=int)
    pattern = Pattern.of((m, n), *np.nonzero(A))
    cones = (*[Zero(equalities)] * (equalities > 0), *[NonNeg(m - equalities)] * (m > equalities))
    nothing = Pattern.of((n, n), [], [])
    structure = Structure(
        nothing, pattern, cones, none, none, Data(none, none, none, none), np.ones(n)
    )
    return ConeProgram(structure, Data(np.zeros((1, 0)), q, A[pattern.rows, pattern.cols][None], b))


def random_linear(seed: int, batch: int) -> ConeProgram:
    """Feasible linear programs of small data, half of them integers, with many ties.

    Columns have bounds from below, from above, both or none, of the same value at times; equality
    rows are redundant at times.
    """
    random = np.random.default_rng(seed)
    n, equalities, rows = (int(random.integers(*ends)) for ends in ((2, 12), (0, 4), (1, 8)))
    whole = random.random() < 0.5

    def numbers(*shape: int) -> np.ndarray:
        if whole:
            return random.integers(-2, 3, shape).astype(float)
        return random.standard_normal(shape) * (random.random(shape) < 0.7)

    inside, A = numbers(batch, n), numbers(equalities + rows, n)
    if equalities > 1 and seed % 3 == 0:
        A[1] = A[0]
    room = [np.zeros((batch, equalities)), np.abs(numbers(batch, rows))]
    kinds = random.integers(0, 4, n)
    for sign, chosen in ((-1.0, kinds % 2 == 1), (1.0, kinds >= 2)):
        A = np.concatenate([A, sign * random.choice([0.5, 1.0, 2.0], (n, 1)) * np.eye(n)])
        A = A[np.concatenate([np.ones(len(A) - n, dtype=bool), chosen])]
        room.append(np.abs(numbers(batch, int(chosen.sum()))))
    b = inside @ A.T + np.concatenate(room, axis=1)
    return sparse(numbers(batch, n), A, b if seed % 2 else b[:1], equalities)
