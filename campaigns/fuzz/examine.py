"""All properties of one random problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .choices import Choices
from .forward import forward
from .gradient import gradient
from .problems import Case, pair

MOST_REFUSED = 0.05  # of the problems with data between 1e-2 and 1e2


@dataclass(frozen=True)
class Finding:
    """What was found of one problem.

    Parameters
    ----------
    case : Case
    moderate : bool
        Whether its data are between 1e-2 and 1e2.
    mismatches, refusals, notes : list of str
        As in `Outcome`.
    """

    case: Case
    moderate: bool
    mismatches: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The worst of it."""
        if self.mismatches:
            return "mismatch"
        return "refused" if self.refusals else "equal"


def examine(choices: Choices) -> Finding:
    """Make a problem and hold its solutions and gradients against CVXPY and differences."""
    case, unit = pair(choices)
    run = forward(case, unit)
    gradient(run)
    found = run.outcome
    return Finding(case, case.world.moderate, found.mismatches, found.refusals, found.notes)


def share_refused(findings: Iterable[Finding]) -> float:
    """The share of refusals among problems with moderate data."""
    kinds = Counter(f.verdict for f in findings if f.moderate)
    return kinds["refused"] / max(kinds.total(), 1)


def counted(findings: Iterable[Finding]) -> list[list[str | int]]:
    """Rows (kind, moderate, wild): how many problems had at least one of that kind."""
    counts: dict[str, Counter[bool]] = {}
    for f in findings:
        kinds = [f"all: {f.verdict}", *(_kind("MISMATCH", t) for t in f.mismatches)]
        kinds += [_kind("refused", t) for t in f.refusals] + [_kind("note", t) for t in f.notes]
        for kind in set(kinds):
            counts.setdefault(kind, Counter())[f.moderate] += 1
    return [[kind, counts[kind][True], counts[kind][False]] for kind in sorted(counts)]


def _kind(what: str, text: str) -> str:
    """A line without its numbers, which belong to one problem."""
    head, _, rest = text.partition(":")
    head = "solution" if head.startswith("sample") else head
    words = rest.split(":")[0].split()
    keep = [w for w in words if not any(c.isdigit() for c in w)]
    return f"{what}: {head}: {' '.join(keep[:6])}"
