"""All malformed inputs, and what each must lead to."""

from __future__ import annotations

import warnings
from functools import cache

from cvxlpgd.errors import CvxlpgdError

from . import commands, layers, methods
from .values import Malformed


@cache
def everything() -> tuple[Malformed, ...]:
    """Every place with every malformed value."""
    found = [
        *layers.constructors("torch"),
        *layers.constructors("numpy"),
        *layers.calls("torch"),
        *layers.calls("numpy"),
        *layers.pullbacks(),
        *layers.envelopes("torch"),
        *layers.envelopes("numpy"),
        *methods.derivatives(),
        *methods.solvers(),
        *methods.schedules(),
        *methods.losses(),
        *methods.comparisons(),
        *commands.commands(),
    ]
    assert len({case.name for case in found}) == len(found), "names repeat"
    return tuple(found)


def complaint(case: Malformed) -> str:
    """What is wrong with what a malformed input leads to; empty for an error as it should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case.run()
        except CvxlpgdError as error:
            text = str(error)
            if not text.strip():
                return "the message is empty"
            named = any(word.lower() in text.lower() for word in case.words)
            return "" if named else f"the message names none of {case.words}: {text[:200]}"
        except Exception as error:  # whatever escapes is the finding
            return f"{type(error).__name__} escapes: {str(error)[:200]}"
    return "accepted"
