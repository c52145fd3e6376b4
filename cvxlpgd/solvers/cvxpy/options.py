"""What CVXPY's solvers call their options, which CVXPY passes on under the solvers' own names.

A name with a colon is an entry of a dictionary: "scipy_options:time_limit".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.options import Configured
from cvxlpgd.solvers.osqp import OSQP
from cvxlpgd.solvers.piqp import PIQP
from cvxlpgd.solvers.scs import SCS

Names = Callable[[], frozenset[str]]


@dataclass(frozen=True)
class CvxpyRow:
    """One solver's options."""

    install: str  # what pip installs
    defaults: dict[str, Any] = field(default_factory=dict)  # where CVXPY's are too loose
    tolerances: tuple[str, ...] = ()  # those that `eps` sets
    time_limit: str | None = None  # its name, where there is one in seconds
    names: Names | None = None  # gives all; None where nobody outside the solver knows them
    # Whether it gets the row 0'x = 0 where there are no equality rows: OSQP polishes only where a
    # constraint is active, and prints that it does not.
    pinned: bool = False


def _row(
    install: str,
    eps: float,
    tolerances: str,
    time_limit: str | None = None,
    names: Names | None = None,
    **others: Any,
) -> CvxpyRow:
    own = tuple(tolerances.split())
    return CvxpyRow(install, dict.fromkeys(own, eps) | others, own, time_limit, names)


def _row_of(
    solver: type[Configured], eps: float, more: str, pinned: bool = False, **others: Any
) -> CvxpyRow:
    """The row of a solver with a file of its own: the options known there, and more names."""
    known = solver.known
    defaults = dict.fromkeys(known.tolerances, eps) | others
    names = known.names | set(more.split())
    return CvxpyRow(
        solver.requires[0], defaults, known.tolerances, known.time_limit, lambda: names, pinned
    )


def _highs() -> frozenset[str]:
    import highspy

    own = [name for name in dir(highspy.HighsOptions()) if not name.startswith("_")]
    return frozenset([*own, "highs_options", "verbose"])


_DAQP = (
    "primal_tol dual_tol zero_tol pivot_tol progress_tol cycle_tol iter_limit fval_bound eps_prox "
    "eta_prox verbose"
)
TABLE = {
    "CLARABEL": _row_of(Clarabel, 1e-10, "use_quad_obj", max_threads=1),
    "SCS": _row_of(SCS, 1e-9, "use_quad_obj", eps_infeas=1e-9),
    "ECOS": _row_of(ECOS, 1e-9, "use_quad_obj", abstol=1e-12, reltol=1e-12),
    "ECOS_BB": _row("ecos", 1e-9, "feastol abstol reltol", abstol=1e-12, reltol=1e-12),
    "OSQP": _row_of(
        OSQP, 1e-9,
        "adaptive_rho_fraction algebra cg_max_iter cg_precond cg_tol_fraction cg_tol_reduction "
        "check_dualgap device linsys_solver polish rho_is_vec warm_starting",
        pinned=True, polishing=True, max_iter=100_000, eps_prim_inf=1e-9, eps_dual_inf=1e-9,
    ),
    "HIGHS": _row(
        "highspy", 1e-9, "primal_feasibility_tolerance dual_feasibility_tolerance", "time_limit",
        _highs, qp_regularization_value=0.0,
    ),
    "SCIPY": CvxpyRow(
        "scipy", {},  # its integer programs take no tolerances, and it warns at them
        ("scipy_options:primal_feasibility_tolerance", "scipy_options:dual_feasibility_tolerance"),
        "scipy_options:time_limit", lambda: frozenset({"scipy_options", "verbose"}),
    ),
    "PIQP": _row_of(
        PIQP, 1e-9, "compute_timings kkt_solver num_threads preconditioner_reuse_on_update"
    ),
    "DAQP": _row(
        "daqp", 1e-9, "primal_tol dual_tol eta_prox", None, lambda: frozenset(_DAQP.split()),
        iter_limit=100_000,
    ),
    "PROXQP": _row("proxsuite", 1e-9, "eps_abs eps_rel"),
    "QPALM": _row("qpalm", 1e-9, "eps_abs eps_rel", "time_limit", max_iter=100_000),
    "MOSEK": _row("mosek", 1e-10, "eps", "mosek_params:MSK_DPAR_OPTIMIZER_MAX_TIME"),
    "GUROBI": _row(
        "gurobipy", 1e-9, "FeasibilityTol OptimalityTol BarConvTol BarQCPConvTol", "TimeLimit"
    ),
    "COPT": _row("coptpy", 1e-9, "FeasTol DualTol RelGap", "TimeLimit"),
    "SCIP": _row(
        "pyscipopt", 1e-9, "scip_params:numerics/feastol scip_params:numerics/dualfeastol",
        "scip_params:limits/time", lambda: frozenset({"scip_params", "verbose"}),
    ),
    "CVXOPT": _row("cvxopt", 1e-9, "abstol reltol feastol"),
    "QOCO": _row("qoco", 1e-9, "abstol reltol"),
    "CPLEX": CvxpyRow("cplex"),
    "XPRESS": CvxpyRow("xpress"),
    "GLPK": CvxpyRow("cvxopt"),
    "GLPK_MI": CvxpyRow("cvxopt"),
    "CBC": CvxpyRow("cylp"),
    "SDPA": CvxpyRow("sdpa-python"),
    "GLOP": CvxpyRow("ortools"),
    "PDLP": CvxpyRow("ortools"),
    "NAG": CvxpyRow("naginterfaces"),
    "KNITRO": CvxpyRow("knitro"),
}  # fmt: skip


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without dictionaries among their values: {"a": {"b": 1}} as {"a:b": 1}."""
    entries: dict[str, Any] = {}
    for name, value in options.items():
        inner = value if isinstance(value, Mapping) else None
        entries |= {name: value} if inner is None else {f"{name}:{k}": v for k, v in inner.items()}
    return entries


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """The way back, always new dictionaries: CVXPY writes into the ones it gets."""
    entries: dict[str, Any] = {}
    for name, value in options.items():
        outer, colon, inner = name.partition(":")
        if colon:
            entries.setdefault(outer, {})[inner] = value
        else:
            entries[name] = value
    return entries
