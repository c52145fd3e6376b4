"""Facts of a structure: worked out once, shared by threads, gone with it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from operator import is_

import numpy as np
import pytest

from cvxlpgd import Exact
from cvxlpgd.cones import NonNeg
from cvxlpgd.layer import compile_layer
from cvxlpgd.program import ConeProgram, Data, Structure
from cvxlpgd.program.pattern import Pattern
from cvxlpgd.program.structure import latest_per_structure, per_structure
from cvxlpgd.solvers import DAQP, SCS, Clarabel, HiGHS, Refined
from cvxlpgd.solvers.translate.bounds import Bounds
from tests import zoo
from tests.helpers.programs import orthant

PROGRAM = orthant([[1.0, 0.0]], [[1.0, 2.0, 3.0]], quadratic=True)


def test_a_fact_is_worked_out_once_for_a_structure_and_anew_for_its_copies() -> None:
    calls: list[object] = []

    @per_structure
    def rows(structure):
        calls.append(structure)
        return structure.m

    structure = copy.copy(PROGRAM.structure)
    copies = [copy.copy(structure), pickle.loads(pickle.dumps(structure))]
    assert [rows(v) for v in (structure, structure, *copies, copies[0])] == [3] * 5
    assert [id(v) for v in calls] == [id(v) for v in (structure, *copies)]


def test_the_last_fact_is_kept_while_its_key_is_the_same() -> None:
    @latest_per_structure(is_)
    def pair(structure, key):
        return [structure.m, key]

    one, other = "one", "other"
    first = pair(PROGRAM.structure, one)
    assert pair(PROGRAM.structure, one) is first
    assert pair(PROGRAM.structure, other) == [3, other]
    assert pair(PROGRAM.structure, one) is not first


def test_bounds_follow_the_constants_in_every_thread() -> None:
    """Threads that alternate between constants get the bounds of their own."""
    nothing = np.zeros(0, dtype=int)
    structure = Structure(
        Pattern.of((1, 1), [], []), Pattern.of((2, 1), [0, 1], [0, 0]), (NonNeg(2),),
        nothing, nothing, Data(nothing, nothing, nothing, nothing), np.ones(1),
    )  # fmt: skip
    data = Data(np.zeros((1, 0)), np.ones((1, 1)), np.array([[1.0, -2.0]]), np.ones((1, 2)))
    programs = [ConeProgram(structure, data * factor) for factor in (1.0, -1.0)]
    scales = [Bounds.of(program).upper_scale.tolist() for program in programs]
    assert scales == [[1.0], [2.0]]
    assert Bounds.of(programs[1]) is Bounds.of(programs[1])
    assert Bounds.of(programs[1], bounds=False) is Bounds.of(programs[0], bounds=False)

    def alternate(k: int) -> list[list[float]]:
        return [Bounds.of(programs[(k + i) % 2]).upper_scale.tolist() for i in range(200)]

    with ThreadPoolExecutor(4) as pool:
        for k, seen in enumerate(pool.map(alternate, range(8))):
            assert seen == [scales[(k + i) % 2] for i in range(200)]


@pytest.mark.parametrize("solver", [DAQP(), HiGHS(), Refined(Clarabel()), SCS()], ids=repr)
def test_a_layer_that_is_dropped_leaves_no_structure_behind(solver) -> None:
    row = zoo.row_named("simplex_projection")
    values = row.inputs(2)
    problem, parameters, variables = row.build()
    layer = compile_layer(
        problem, parameters, variables, solver=solver, derivative=Exact(), gp=row.gp
    )
    call = layer.forward(values)
    call.vjp([np.ones_like(v) for v in call.outputs], [True] * len(values))
    structure = weakref.ref(call.compiled.canonical.structure)
    del layer, call, problem, parameters, variables
    gc.collect()
    assert structure() is None
