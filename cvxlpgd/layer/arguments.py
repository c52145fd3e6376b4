"""The values of a call in the parameters' order: by position, by name, or some each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from cvxlpgd.errors import InvalidInput

OPTIONS = ("solver_args", "warm_start")  # of a call; a parameter's value has none of these names


def called(i: int, names: Sequence[str]) -> str:
    """What messages call the i-th value of parameters of these names; others may follow."""
    return f"value {i} ({names[i]})" if i < len(names) else f"value {i}"


def first_line(error: Exception) -> str:
    """The first line of an error's text, without the end of its sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def advice(value: Any) -> str:
    """What to try with a value of another library, to be appended to a message."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(advice, value)), "")
    library = type(value).__module__.partition(".")[0]
    kind = type(value).__name__
    if library == "torch":
        return "; the layers of cvxlpgd.torch take tensors; else pass tensor.detach().numpy()"
    if library in ("jax", "jaxlib"):
        if kind in ("BCOO", "BCSR"):
            return "; sparse arrays of JAX are not supported: pass value.todense()"
        return "; the layers of cvxlpgd.jax take JAX's arrays, also while JAX traces"
    ways = {"pandas": "to_numpy", "scipy": "toarray"}
    return f"; pass value.{ways[library]}()" if library in ways else ""


def arrange(
    names: Sequence[str],
    values: Sequence[Any],
    named: Mapping[str, Any],
    each: str = "CVXPY parameter",
) -> tuple[Any, ...]:
    """The values, one for each of the parameters that have these names.

    Parameters
    ----------
    names : the parameters', in order
    values : those given by position
    named : those given by name
    each : what messages call the parameters

    Raises
    ------
    InvalidInput
        For a name that no parameter has, or two have; a value that is missing, or given twice.
    """
    if not named and len(values) == len(names):
        return tuple(values)
    if not named or len(values) > len(names):
        raise InvalidInput(
            f"A tensor must be provided for each {each}; "
            f"received {len(values) + len(named)} tensors, expected {len(names)}"
        )
    for name in named:
        _check_name(name, names, len(values))
    missing = [name for name in names[len(values) :] if name not in named]
    if missing:
        text = f"no value for parameter {', '.join(missing)}"
        reserved = [name for name in missing if name in OPTIONS]
        if reserved:
            text += f"; {reserved[0]} is an option's name, so pass that parameter by position"
        raise InvalidInput(text)
    return (*values, *(named[name] for name in names[len(values) :]))


def _check_name(name: str, names: Sequence[str], positional: int) -> None:
    """Raise unless one parameter, not given by position, has this name."""
    places = [i for i, own in enumerate(names) if own == name]
    if not places:
        close = get_close_matches(name, [*names, *OPTIONS], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InvalidInput(
            f"{name} is neither a parameter of this layer, which has {', '.join(names) or 'none'}, "
            f"nor an option of a call ({', '.join(OPTIONS)}){hint}"
        )
    if len(places) > 1:
        where = " and ".join(map(str, places))
        raise InvalidInput(
            f"parameters {where} are both named {name}: pass them by position, or give them names "
            "of their own"
        )
    if places[0] < positional:
        raise InvalidInput(
            f"parameter {name} is given twice, by name and as value {places[0]} by position"
        )
