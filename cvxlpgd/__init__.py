"""Differentiable optimization layers on CVXPY, with any solver and LPGD gradients."""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from cvxlpgd.analysis.compare import compare
from cvxlpgd.analysis.comparison import Comparison
from cvxlpgd.derivatives import LPGD, Exact, FiniteDifference, Implicit

__version__ = version("cvxlpgd")
__all__ = ["LPGD", "Comparison", "Exact", "FiniteDifference", "Implicit", "compare"]

# what users import from
_MODULES = tuple(
    "cone_programs errors jax losses numpy pyepo schedules solvers torch unrolled".split()
)
# the libraries that they need
_OPTIONAL = {"jax": "jax", "pyepo": "pyepo", "torch": "torch", "unrolled": "torch"}


def __getattr__(name: str) -> ModuleType:
    """A module that users import from, when it is first asked for: `cvxlpgd.torch`."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is public, a framework's module where that is installed."""
    modules = [name for name in _MODULES if find_spec(_OPTIONAL.get(name, __name__))]
    return [*__all__, *modules, "__version__"]
