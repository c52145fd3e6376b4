"""Traps of forms and options: dtypes, shapes, and settings that never arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np
import torch

from campaigns.traps.calls import LPGD_ARGS, projection
from campaigns.traps.trap import Layer, Seen, Trap, mine, outcome, tensor, theirs
from cvxlpgd.program import ConeProgram
from cvxlpgd.solution import Solution
from cvxlpgd.solvers import SCS


def _dtypes(layer: Layer) -> Seen:
    made, wrong = projection(layer), []
    for dtype in (torch.float32, torch.bfloat16):
        value = torch.tensor([0.1, 0.5, 0.9], dtype=dtype)
        found: list[Any] = []
        failed = outcome(lambda value=value, found=found: found.extend(made(value)))  # type: ignore[misc]
        if failed or found[0].dtype != dtype:
            gives = failed.split(":")[0] or str(found[0].dtype).removeprefix("torch.")
            wrong.append(f"{str(dtype).removeprefix('torch.')} gives {gives}")
    return Seen(bool(wrong), ", ".join(wrong) or "float32 and bfloat16 come back as they are")


def _options_theirs() -> Seen:
    from cvxpylayers.interfaces.base import SolverInterface

    class Recording(SolverInterface):
        canon_solver = "SCS"
        seen: Mapping[str, Any] = {}

        def solve_numpy(self, P: Any, q: Any, A: Any, dims: Any, args: Any, needs: Any) -> Any:
            type(self).seen = dict(args)
            m = dims.zero + dims.nonneg + sum(dims.soc)
            return np.zeros(len(q) - 1), np.zeros(m), None

        def derivative_numpy(self, dprimal: Any, ddual: Any, state: Any) -> Any:
            raise NotImplementedError

    made = projection(theirs(), solver=Recording(), solver_args={"eps": 1e-9})
    made(torch.ones(3).double())
    kept = Recording.seen.get("eps") == 1e-9
    return Seen(not kept, "the solver gets the constructor's options" if kept else
                "the constructor's options never reach the solver")  # fmt: skip


@dataclass(frozen=True)
class _Recording:
    """SCS, whose options are seen."""

    options: Mapping[str, Any] = field(default_factory=dict)
    name = "RECORDING"
    requires, cones, quadratic, integer = SCS.requires, SCS.cones, SCS.quadratic, SCS.integer
    arrays, accuracy = SCS.arrays, 1e-6
    seen: ClassVar[Mapping[str, Any]] = {}

    def with_options(self, options: Mapping[str, Any]) -> _Recording:
        return _Recording({**self.options, **options})

    def solve(self, program: ConeProgram, start: Solution | None = None) -> Solution:
        type(self).seen = self.options
        return SCS().solve(program, start)


def _options_ours() -> Seen:
    made = projection(mine(), solver=_Recording(), solver_args={"eps": 1e-9})
    made(torch.ones(3).double())
    kept = _Recording.seen.get("eps") == 1e-9
    return Seen(not kept, "the solver gets the constructor's options" if kept else "dropped")


def _forms(layer: Layer) -> Seen:
    """Empty batches, two batch axes, no parameters, sparse variables."""
    made, x = projection(layer), cp.Variable(3)
    fixed = cp.Problem(cp.Minimize(cp.sum_squares(x - np.ones(3))), [x >= 0])
    d, X = cp.Parameter(3), cp.Variable((3, 3), diag=True)
    diagonal = cp.Problem(cp.Minimize(cp.sum_squares(X - cp.diag(d))))
    forms: dict[str, Callable[[], tuple[Any, tuple[int, ...]]]] = {
        "empty batch": lambda: (made(torch.zeros(0, 3).double()), (0, 3)),
        "two batch axes": lambda: (made(torch.zeros(2, 4, 3).double()), (2, 4, 3)),
        "no parameters": lambda: (layer(fixed, [], [x])(), (3,)),
        "diagonal variable": lambda: (layer(diagonal, [d], [X])(torch.ones(3).double()), (3, 3)),
    }

    def check(form: Callable[[], tuple[Any, tuple[int, ...]]]) -> None:
        (found,), shape = form()
        if tuple(found.shape) != shape:
            raise ValueError(f"shape {tuple(found.shape)}")

    failed = {name: outcome(lambda form=form: check(form)) for name, form in forms.items()}  # type: ignore[misc]
    bad = [f"{name} ({error.split(':')[0]})" for name, error in failed.items() if error]
    return Seen(bool(bad), f"fails: {', '.join(bad)}" if bad else "all 4 run")


def _documented(layer: Layer, options: list[dict[str, Any]]) -> Seen:
    """Options that the documentation of the constructor names."""
    value = tensor(0.1, 0.5, 0.9)
    errors = {str(o): outcome(lambda o=o: projection(layer, **o)(value)) for o in options}  # type: ignore[misc]
    bad = [f"{name} ({error.split(':')[0]})" for name, error in errors.items() if error]
    return Seen(bool(bad), f"raises: {', '.join(bad)}" if bad else f"all {len(options)} run")


TRAPS = {
    "dtypes": Trap(
        "Another dtype comes out than went in, or none",
        {"cvxpylayers": lambda: _dtypes(theirs())},
        lambda: _dtypes(mine()),
        ("torch/test_torch_values.py::test_dtype_in_is_dtype_out",),
    ),
    "dropped-options": Trap(
        "A custom solver does not get the options of the constructor",
        {"cvxpylayers": _options_theirs},
        _options_ours,
        ("campaigns/test_traps.py::test_a_solver_of_the_callers_gets_every_option",),
    ),
    "forms": Trap(
        "Empty batches, two batch axes, no parameters, diagonal variables",
        {"cvxpylayers": lambda: _forms(theirs())},
        lambda: _forms(mine()),
        ("torch/test_torch_values.py::test_no_samples",
         "torch/test_torch_values.py::test_no_parameters",
         "torch/test_torch_values.py::test_batch_axes_broadcast",
         "torch/test_torch_values.py::test_sparse_parameters_and_variables_have_full_shape"),
    ),
    "documented-options": Trap(
        "Options that the documentation names are errors",
        {"cvxpylayers": lambda: _documented(theirs(), [
            {"solver": "CLARABEL"}, {"solver": "SCS"}, {"canon_backend": "diffcp"}])},
        lambda: _documented(mine(), [
            {"solver": "CLARABEL"}, {"solver": "SCS"}, {"canon_backend": "SCIPY"},
            {"solver_args": {"eps": 1e-8}}, {"solver_args": LPGD_ARGS}]),
        ("test_docs.py::test_python_blocks_run", "layer/test_migration.py::test_spellings"),
    ),
}  # fmt: skip
