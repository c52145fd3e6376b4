"""The end of CVXPY's chain of reductions."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver
from cvxpy.reductions.solvers.conic_solvers.scs_conif import SCS

from cvxlpgd.canonical._stuffing import Stuffing
from cvxlpgd.errors import InvalidProblem

# What CVXPY may hand over in its cone program. Anything else could carry a constraint.
_UNDERSTOOD = frozenset(
    "q A P x reduced_A reduced_P constraints constr_size constr_map cone_dims parameters "
    "param_id_to_col id_to_param param_id_to_size total_param_size variables "
    "var_id_to_col id_to_var formatted".split()
)
_UNUSED = frozenset(["lower_bounds", "upper_bounds", "lb_tensor", "ub_tensor", "dir_cones"])


class Target(SCS):
    """The end of CVXPY's chain: SCS's cones and row layout, integers too, nothing evaluated."""

    MIP_CAPABLE = True
    MI_SUPPORTED_CONSTRAINTS = SCS.SUPPORTED_CONSTRAINTS
    REQUIRES_CONSTR = False

    def name(self) -> str:
        return "CVXLPGD"

    def import_solver(self) -> None:
        """Nothing to import."""

    def supports_quad_obj(self) -> bool:
        return True

    def apply(self, problem: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The program with unordered rows, and old row +-(i + 1) of each ordered row."""
        rows = problem.A.shape[0] // (problem.x.size + 1)
        index = copy.copy(problem)
        index.A = sp.csc_array(np.arange(1.0, rows + 1)[:, None])
        index.x = SimpleNamespace(size=0, id=problem.x.id)
        index.P = None
        order = ConicSolver.format_constraints(index, exp_cone_order=[0, 1, 2])
        _, _, inverse = self._prepare_data_and_inv_data(order)
        inverse[cp.settings.OFFSET] = 0.0
        return {"program": problem, "order": order.A.toarray().ravel()}, inverse

    def invert(self, solution: dict[str, Any], inverse_data: Any) -> Any:
        return ConicSolver.invert(self, solution, inverse_data)


class Own(cp.Problem):
    """A problem that is reduced to matrices by `Stuffing`."""

    def _construct_chain(self, **options: Any) -> Any:
        chain = cp.Problem._construct_chain(self, **options)
        chain.reductions = [
            Stuffing(r.quad_obj, r.canon_backend) if isinstance(r, ConeMatrixStuffing) else r
            for r in chain.reductions
        ]
        return chain

    @property
    def solver_context(self) -> Any:
        """What CVXPY's reductions know of the solver: its name, which must be one that they know.

        They look it up to compile a perspective's function.
        """
        return self._solver_context

    @solver_context.setter
    def solver_context(self, context: Any) -> None:
        if context is not None:
            context.solver_name = cp.SCS
        self._solver_context = context


def compile_problem(problem: cp.Problem, **options: Any) -> tuple[dict[str, Any], Any, Any]:
    """CVXPY's data for `Target`, its chain, and what inverts it."""
    with warnings.catch_warnings():
        # CVXPY warns of how it reads its own sparse variables, and of a backend it chooses
        warnings.filterwarnings("ignore", "Reading from a sparse CVXPY", RuntimeWarning)
        warnings.filterwarnings("ignore", ".*Defaulting to the SCIPY backend", UserWarning)
        data: tuple[dict[str, Any], Any, Any] = problem.get_problem_data(Target(), **options)
        return data


def check_understood(program: Any) -> None:
    unknown = vars(program).keys() - _UNDERSTOOD - _UNUSED
    if unknown:
        raise InvalidProblem(
            f"this version of CVXPY hands over {sorted(unknown)}, which cvxlpgd does not know and "
            f"must not drop; install a version that the README names"
        )
    for name in _UNUSED & vars(program).keys():
        value = getattr(program, name)
        if name == "lower_bounds" and value is not None:
            # CVXPY notes that a boolean variable is nonnegative, which it is anyway
            boolean = [i for (i,) in program.x.boolean_idx]
            value = [v for v in np.delete(value, boolean) if v > -np.inf]
        if value is not None and len(value if isinstance(value, list) else [value]):
            raise InvalidProblem(f"CVXPY moved constraints to {name!r}, which cvxlpgd cannot read")
    if program.cone_dims.pnd:
        raise InvalidProblem("CVXPY left n-dimensional power cones, which cvxlpgd cannot read")
