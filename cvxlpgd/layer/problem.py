"""Layers of CVXPY problems: canonicalized, and made into maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cvxpy as cp

from cvxlpgd.canonical import canonicalize, check_dpp, check_lists, substitute
from cvxlpgd.errors import InvalidOption
from cvxlpgd.layer.compiled import Compiled
from cvxlpgd.layer.inputs import Domain
from cvxlpgd.layer.layer import Layer
from cvxlpgd.layer.origin import Origin
from cvxlpgd.layer.settings import Settings


def compile_layer(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    settings: Settings | None = None,
    **options: Any,
) -> Layer:
    """The layer of a parametrized CVXPY problem.

    Parameters
    ----------
    problem, parameters, variables : as the adapters'
    settings : Settings, optional
    options : fields of `Settings` by name, which go over those of `settings`

    Raises
    ------
    InvalidProblem, InvalidOption, SolverNotInstalled, UnsuitableSolver
    """
    settings = Settings() if settings is None else settings
    if not isinstance(settings, Settings):
        raise InvalidOption(f"settings must be Settings(...), not {settings!r}")
    settings = replace(settings, **options)
    parameters, variables = check_lists(problem, parameters, variables, settings.gp)
    own = substitute(problem, parameters)
    check_dpp(own, settings.gp)
    canonical = canonicalize(own, parameters, variables, settings.gp, settings.canon_backend)
    logs = {i for i, logarithm in canonical.parameters.sources if logarithm}
    domains = [Domain.of(p, i in logs) for i, p in enumerate(parameters)]
    return Layer(Compiled(canonical, domains), settings, Origin(own, parameters))
