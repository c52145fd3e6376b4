"""What a comparison shows, in words: sentences that follow from its rows, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvxlpgd.analysis.facts import Facts
from cvxlpgd.analysis.score import Score
from cvxlpgd.analysis.tau_ranges import CLOSE, agreement_range, informative_range
from cvxlpgd.analysis.words import amount, count, listed
from cvxlpgd.layer.description import number

WRONG = 1e-3  # against central differences, which are good to 1e-4 and better
APART = 10.0  # times the best error: a derivative that is wrong is much worse than another
NAMED = 4  # failed samples that are named


def verdict(rows: Sequence[Score], facts: Facts, reference: str, noise: float) -> str:
    """The sentences, a line for each subject."""
    exact, wrong = _exact(rows), wrong_rows(rows)
    doubtful = is_doubtful(rows, facts, reference)
    lines = [
        *_samples(facts),
        *_reference(facts, reference),
        *_zeros(facts, reference),
        *([] if facts.all_zero else _agreement(exact, wrong, facts, reference)),
        *_unlisted(rows, facts, reference),
        *_kinks(facts),
        *_advice(rows, facts),
        *([] if facts.all_zero else agreement_range(rows, noise, doubtful)),
        *informative_range(rows, facts),
        *_lost(rows, facts),
    ]
    return "\n".join(lines)


def _exact(rows: Sequence[Score]) -> list[Score]:
    """The rows that mean to be the exact derivative."""
    return [row for row in rows if row.tau is None or (row.is_limit and not _adds(row))]


def _adds(row: Score) -> bool:
    """Whether one parameter's gradient is in part the limit and in part a difference."""
    return row.is_limit and row.tau != 0 and row.error_reference > CLOSE


def wrong_rows(rows: Sequence[Score]) -> list[Score]:
    """The exact derivatives that are not what central differences and a better one are."""
    exact = _exact(rows)
    best = min((row.error_fd for row in exact if np.isfinite(row.error_fd)), default=np.inf)
    return [row for row in exact if row.error_fd > max(WRONG, APART * best)]


def is_doubtful(rows: Sequence[Score], facts: Facts, reference: str) -> bool:
    """Whether errors relative to the reference say little about the exact derivative."""
    return facts.is_difference or any(row.title == reference for row in wrong_rows(rows)) or (
        _is_off(rows, reference)
    )  # fmt: skip


def _is_off(rows: Sequence[Score], reference: str) -> bool:
    """Whether a reference without a row is not what an exact derivative and differences are."""
    best = min(_exact(rows), key=lambda row: np.nan_to_num(row.error_fd, nan=np.inf), default=None)
    if best is None or any(row.title == reference for row in rows):
        return False
    return best.error_reference > max(WRONG, APART * best.error_fd)


def _samples(facts: Facts) -> list[str]:
    """Samples that have no solution, or a bad one."""
    lines = []
    if facts.failed:
        few = facts.failed[:NAMED] + (("...",) if len(facts.failed) > NAMED else ())
        left_out = f"{count(facts.failed, 'is', 'are')} left out, without a solution"
        lines.append(f"{left_out} ({'; '.join(few)}). The rest is about the others.")
    if facts.inaccurate:
        lines.append(
            f"{count(facts.inaccurate)} with an inaccurate solution: ask for a smaller eps, or "
            "another solver."
        )
    return lines


def _reference(facts: Facts, reference: str) -> list[str]:
    """Where errors are not relative to what one would think."""
    if facts.substitute:
        return [f"The reference is finite differences, because {facts.substitute}."]
    if facts.is_difference:
        return [f"The reference, {reference}, is a difference itself, not the exact derivative."]
    return []


def _zeros(facts: Facts, reference: str) -> list[str]:
    """Where the exact gradient is 0, and why."""
    if not facts.zero:
        return []
    names = listed(facts.zero)
    line = f"The {'exact ' * facts.exactly}gradient of {names} is 0"
    if not facts.exactly:
        line += f" by {reference}, though not by Exact()"
    elif facts.problem == "linear program":
        line += f": the solution of a linear program is a vertex, and does not move with {names}"
    elif facts.jumps:
        line += f": an integer solution does not move with {names}, it jumps"
    else:
        line += f": at these values the loss does not change with {names}"
    if facts.all_zero and facts.directions:
        line += "; central differences are 0 too" if facts.still else (
            ". But central differences are not 0, so that is wrong"
        )  # fmt: skip
    errors = "are shown as -" if facts.all_zero else f"leave {names} out"
    return [f"{line}. Errors relative to 0 mean nothing and {errors}."]


def _agreement(
    exact: Sequence[Score], wrong: Sequence[Score], facts: Facts, reference: str
) -> list[str]:
    """Which exact derivatives agree, and which are wrong."""
    right = [row for row in exact if row not in wrong]
    if not right:
        return []
    errors = [row.error_fd for row in right if np.isfinite(row.error_fd)]
    apart = _apart(right, reference)
    titles, s = listed([row.title for row in right]), "s" if len(right) == 1 else ""
    lines = []
    if not errors and facts.directions and facts.still:
        lines.append("Central differences are 0.")
    elif not errors and apart is None:
        lines.append(f"Central differences have no verdict on {titles}.")
    elif not errors:
        agree = f"agree within {amount(apart or 0)}"
        differ = f"differ by up to {amount(apart or 0)}"
        agree = agree if (apart or 0) <= WRONG else differ
        lines.append(f"{titles} {agree}; central differences have no verdict.")
    elif max(errors) > CLOSE:
        kink = " (the solution has a kink)" if facts.kinks else ""
        by = amount(min(errors))
        lines.append(f"{titles} differ{s} from central differences by {by} and more{kink}.")
    else:
        between = "" if apart is None else f" with each other within {amount(apart)} and"
        by = amount(max(errors))
        lines.append(f"{titles} agree{s}{between} with central differences within {by}.")
    for row in wrong:
        kink = "picks one gradient of the kink" if facts.kinks else "is wrong here"
        line = f"{row.title} {kink}: it is off by {amount(row.error_fd)}"
        if row.title == reference:
            line += ". It is the reference, so go by the fd errors"
        lines.append(f"{line}.")
    return lines


def _unlisted(rows: Sequence[Score], facts: Facts, reference: str) -> list[str]:
    """That a reference without a row is off."""
    if facts.is_difference or not _is_off(rows, reference):
        return []
    kink = "picks one gradient of the kink" if facts.kinks else "is wrong here"
    return [f"The reference, {reference}, {kink}: go by the fd errors."]


def _apart(right: Sequence[Score], reference: str) -> float | None:
    """How far apart the rows are, if the reference is one of several."""
    errors = [row.error_reference for row in right if np.isfinite(row.error_reference)]
    several = len(right) > 1 and any(row.title == reference for row in right)
    return max(errors) if several and errors else None


def _kinks(facts: Facts) -> list[str]:
    """Samples that have no derivative, or not one."""
    lines = []
    if facts.kinks:
        lines.append(
            f"{count(facts.kinks, 'is', 'are')} at a kink: a constraint only just holds, and each "
            'side has its own gradient. LPGD() and Exact() return the mean, side="lower" and '
            'side="upper" one each; layer.weakly_active() names the constraint.'
        )
    if facts.irregular:
        lines.append(
            f"{count(facts.irregular, 'has', 'have')} no unique gradient, or none, as with several "
            "solutions or duplicate constraints; the least one is returned."
        )
    return lines


def _advice(rows: Sequence[Score], facts: Facts) -> list[str]:
    """What the automatic tau is, and whether it serves."""
    row = next((row for row in rows if row.title == "LPGD()"), None)
    if row is None or row.tau is None:
        return []
    size, zero = f"tau = {number(row.tau)}", listed(facts.zero)
    if row.tau == 0 and facts.all_zero:
        return ['LPGD() is exact, so 0 too. LPGD(tau="informative") looks further.']
    if row.tau == 0:
        rest = f" The gradient of {zero} stays 0." if facts.zero else ""
        return [
            "Use LPGD(), the default: its tau is the limit tau -> 0, which is the exact "
            f"derivative. There is no tau to choose.{rest}"
        ]
    if facts.zero and not row.size_beyond:
        return [f"LPGD(), with {size}, sees nothing beyond it either: try a larger tau."]
    if facts.zero:
        whose = "its" if len(facts.zero) == 1 else "their"
        rest = (
            ""
            if facts.all_zero or not row.is_limit or _adds(row)
            else ". The other gradients are exact"
        )
        return [
            f"Use LPGD(), the default: it moves {zero} by {whose} own size, {size}, and that "
            f"gradient is not 0{rest}."
        ]
    does = "adds a difference to the exact derivative" if row.is_limit else "takes a difference"
    return [f"LPGD(), the default, {does}, with {size}: it looks further."]


def _lost(rows: Sequence[Score], facts: Facts) -> list[str]:
    """Derivatives that have no gradient for some samples."""
    lost = [row for row in rows if row.failed > len(facts.failed)]
    if not lost:
        return []
    most = max(row.failed for row in lost) - len(facts.failed)
    titles = listed([row.title for row in lost[:2]] + ["others"] * (len(lost) > 2))
    s = "s" if len(lost) == 1 else ""
    return [
        f"{titles} find{s} no gradient for up to {count(most)}: the perturbed programs have no "
        "solution."
    ]
