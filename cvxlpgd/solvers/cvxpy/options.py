"""What CVXPY's solvers call their options, which CVXPY passes on under the solvers' own names.

A name with a colon is an entry of a dictionary: "scipy_options:time_limit".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.scs import SCS

Names = Callable[[], frozenset[str]]


@dataclass(frozen=True)
class Options:
    """One solver's options.

    Parameters
    ----------
    install : str
        What pip installs.
    defaults : dict
        Where CVXPY's are too loose for derivatives.
    tolerances : tuple of str
        Those that `eps` sets.
    time_limit : str or None
        Its name, where there is one in seconds.
    names : callable or None
        Gives all of its options; None where nobody outside the solver knows them.
    pinned : bool
        Whether it gets the row 0'x = 0 where there are no equality rows. OSQP polishes only where a
        constraint is active, and prints that it does not.
    """

    install: str
    defaults: dict[str, Any] = field(default_factory=dict)
    tolerances: tuple[str, ...] = ()
    time_limit: str | None = None
    names: Names | None = None
    pinned: bool = False


def _row(
    install: str,
    eps: float,
    tolerances: str,
    time_limit: str | None = None,
    names: Names | None = None,
    pinned: bool = False,
    **others: Any,
) -> Options:
    own = tuple(tolerances.split())
    return Options(install, dict.fromkeys(own, eps) | others, own, time_limit, names, pinned)


_OSQP = frozenset(
    "adaptive_rho adaptive_rho_fraction adaptive_rho_interval adaptive_rho_tolerance "
    "algebra alpha cg_max_iter cg_precond cg_tol_fraction cg_tol_reduction check_dualgap "
    "check_termination delta device eps_abs eps_dual_inf eps_prim_inf eps_rel "
    "linsys_solver max_iter polish polish_refine_iter polishing rho rho_is_vec "
    "scaled_termination scaling sigma time_limit verbose warm_starting".split()
)
_PIQP = frozenset(
    "backend check_duality_gap compute_timings delta_init eps_abs eps_dual_inf "
    "eps_duality_gap_abs eps_duality_gap_rel eps_primal_inf eps_rel "
    "infeasibility_threshold iterative_refinement_always_enabled "
    "iterative_refinement_eps_abs iterative_refinement_eps_rel "
    "iterative_refinement_max_iter iterative_refinement_min_improvement_rate "
    "iterative_refinement_static_regularization_eps "
    "iterative_refinement_static_regularization_rel kkt_solver max_factor_retires "
    "max_iter num_threads preconditioner_iter preconditioner_reuse_on_update "
    "preconditioner_scale_cost reg_finetune_dual_update_threshold "
    "reg_finetune_lower_limit reg_finetune_primal_update_threshold reg_lower_limit "
    "rho_init tau verbose".split()
)
_DAQP = frozenset(
    "primal_tol dual_tol zero_tol pivot_tol progress_tol cycle_tol iter_limit fval_bound "
    "eps_prox eta_prox verbose".split()
)
_CVXPY = frozenset({"use_quad_obj"})


def _highs() -> frozenset[str]:
    import highspy

    own = [name for name in dir(highspy.HighsOptions()) if not name.startswith("_")]
    return frozenset([*own, "highs_options", "verbose"])


TABLE = {
    "CLARABEL": _row(
        "clarabel", 1e-10, "tol_gap_abs tol_gap_rel tol_feas", "time_limit",
        lambda: Clarabel.known.names | _CVXPY, max_threads=1,
    ),
    "SCS": _row(
        "scs", 1e-9, "eps_abs eps_rel", "time_limit_secs",
        lambda: SCS.known.names | _CVXPY, eps_infeas=1e-9,
    ),
    "ECOS": _row(
        "ecos", 1e-9, "feastol abstol reltol", None,
        lambda: ECOS.known.names | _CVXPY, abstol=1e-12, reltol=1e-12,
    ),
    "ECOS_BB": _row("ecos", 1e-9, "feastol abstol reltol", abstol=1e-12, reltol=1e-12),
    "OSQP": _row(
        "osqp", 1e-9, "eps_abs eps_rel", "time_limit", lambda: _OSQP, pinned=True, polishing=True,
        max_iter=100_000, eps_prim_inf=1e-9, eps_dual_inf=1e-9,
    ),
    "HIGHS": _row(
        "highspy", 1e-9, "primal_feasibility_tolerance dual_feasibility_tolerance", "time_limit",
        _highs, qp_regularization_value=0.0,
    ),
    "SCIPY": Options(
        "scipy", {},  # its integer programs take no tolerances, and it warns at them
        ("scipy_options:primal_feasibility_tolerance", "scipy_options:dual_feasibility_tolerance"),
        "scipy_options:time_limit", lambda: frozenset({"scipy_options", "verbose"}),
    ),
    "PIQP": _row(
        "piqp", 1e-9, "eps_abs eps_rel eps_duality_gap_abs eps_duality_gap_rel", None,
        lambda: _PIQP,
    ),
    "DAQP": _row(
        "daqp", 1e-9, "primal_tol dual_tol eta_prox", None, lambda: _DAQP, iter_limit=100_000
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
    "CPLEX": Options("cplex"),
    "XPRESS": Options("xpress"),
    "GLPK": Options("cvxopt"),
    "GLPK_MI": Options("cvxopt"),
    "CBC": Options("cylp"),
    "SDPA": Options("sdpa-python"),
    "GLOP": Options("ortools"),
    "PDLP": Options("ortools"),
    "NAG": Options("naginterfaces"),
    "KNITRO": Options("knitro"),
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
