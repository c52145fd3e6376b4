"""Files that the command line executes: what they define, and where they fail."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import cvxpy as cp

from cvxlpgd.errors import InvalidInput

# what a file may have to define -> the type of its parts, and what to say about it
DEFINED = {
    "problem": (cp.Problem, "the cvxpy.Problem"),
    "parameters": (cp.Parameter, "its parameters, the inputs of a layer"),
    "variables": (cp.Variable, "its variables, the outputs of a layer"),
    "values": (None, "an array for each parameter, with any batch axes"),
}


@contextmanager
def beside(file: Path | None) -> Iterator[None]:
    """Let what is executed import modules of the file's folder, as `python FILE` does."""
    folder = str(file.resolve().parent) if file else ""
    if folder:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def execute(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """What the file defines, and these names among it; what it prints goes to stderr.

    Raises
    ------
    InvalidInput
        Where there is no file, it fails, or one of the names is missing.
    """
    if not file.is_file():
        raise InvalidInput(f"there is no file {file}")
    try:
        with redirect_stdout(sys.stderr):
            given = runpy.run_path(str(file), run_name="cvxlpgd_compare")
    except (Exception, SystemExit) as error:
        text = f"{_locate(error, file)}\n(`{Path(sys.executable).name} {file}` says more.)"
        raise InvalidInput(text) from error
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidInput(_ask_for(missing, given, file))
    return given


def guard(loss: Callable[..., Any] | None, file: Path) -> Callable[..., Any] | None:
    """The file's loss, whose own errors name the file and the line."""
    if loss is None:
        return None

    def loss_or_error(*variables: Any) -> Any:
        try:
            return loss(*variables)
        except Exception as error:
            raise InvalidInput(f"the loss fails: {_locate(error, file)}") from error

    return loss_or_error


def _locate(error: BaseException, file: Path) -> str:
    """The error with the line of the file that led to it, or with its own if there is none."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.lineno is not None:
        text = f"{type(error).__name__}: {error.msg}"
        return _at(error.filename or str(file), error.lineno, error.text, text)
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == str(file)]
    if not inside:
        return f"{file}: {text}"
    return _at(str(file), inside[-1].lineno, inside[-1].line, text)


def _at(file: str, number: int | None, line: str | None, text: str) -> str:
    return f"{file}, line {number}: {text}\n    {(line or '').strip()}"


def _ask_for(missing: Sequence[str], given: dict[str, Any], file: Path) -> str:
    """What to add to a file that does not define all that it must."""
    lines = [f"{file} does not define {', '.join(missing)}. Add to it, outside of any function:"]
    width = max(len(_assignment(name, given)) for name in missing)
    for name in missing:
        lines.append(f"    {_assignment(name, given):{width}}  # {DEFINED[name][1]}")
    layers = [name for name, value in given.items() if type(value).__name__ == "CvxpyLayer"]
    if layers:
        lines.append(
            f"These are what {layers[0]} was made of, and values that it can be called with."
        )
    return "\n".join(lines)


def _assignment(name: str, given: dict[str, Any]) -> str:
    """A line that defines the name by what the file calls parts of that type."""
    kind = DEFINED[name][0]
    parts = [own for own, value in given.items() if kind and isinstance(value, kind)]
    if name == "problem":
        return f"problem = {parts[0] if parts else '...'}"
    return f"{name} = [{', '.join(parts) or '...'}]"
