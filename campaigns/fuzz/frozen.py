"""Property: a parameter that is not listed is its value."""

from __future__ import annotations

import warnings

import numpy as np

from cvxlpgd.errors import CvxlpgdError, CvxlpgdWarning
from cvxlpgd.numpy import CvxpyLayer

from .problems import Case
from .reference import duals_of
from .world import assign

NEAR = 1e-5  # of the objective's size


def frozen(case: Case) -> list[str]:
    """Leave out every other parameter without batch axes; what differs from listing all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CvxlpgdWarning)
        return _differences(case)


def _differences(case: Case) -> list[str]:
    world = case.world
    pairs = list(zip(world.parameters, world.values, strict=True))
    left_out = [(p, v) for p, v in pairs if p.shape == v.shape][::2]
    if case.expected != "solved" or case.empty or not left_out:
        return []
    world.forgotten()
    outputs = [*world.variables, *([] if world.integer else duals_of(case))]
    try:
        whole = CvxpyLayer(case.problem, world.parameters, outputs)
        whole(*world.values)
    except CvxlpgdError:
        return []
    if (whole.info.status != "solved").any():
        return []
    for parameter, value in left_out:
        assign(parameter, value)
    ids = {p.id for p, _ in left_out}
    listed = [(p, v) for p, v in pairs if p.id not in ids]
    try:
        part = CvxpyLayer(case.problem, [p for p, _ in listed], outputs)
        part(*(v for _, v in listed))
    except Exception as error:  # whatever escapes is a finding
        return [f"{type(error).__name__}: {error}"]
    if (part.info.status != "solved").any():
        return []
    found, wanted = part.info.objective, whole.info.objective
    if not np.abs(found - wanted).max() <= NEAR * (1 + np.abs(wanted).max()):
        return [f"objectives {found.ravel()}, and {wanted.ravel()} where all are listed"]
    return []
