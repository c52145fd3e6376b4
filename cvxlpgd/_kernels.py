"""Compiled kernels, for the few loops that NumPy makes slowly: where numba is installed and works.

A package's kernels are in its module `_numba`, beside the NumPy code that they stand for.
"""

from __future__ import annotations

import os
import threading
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

SWITCH = "CVXLPGD_NUMBA"  # an environment variable; 0: no kernels

_modules: dict[str, Any] = {}
_lock = threading.Lock()


def kernels_of(package: str | None) -> Any:
    """The module of a package's kernels; None where NumPy serves.

    They are compiled when first asked for, and kept on disk.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    name = f"{package}._numba"
    if name not in _modules:
        with _lock:
            if name not in _modules:
                _modules[name] = _load(name)
    return _modules[name]


def _load(name: str) -> Any:
    if find_spec("numba") is None or None in _modules.values():
        return None
    try:
        return import_module(name)
    except Exception as error:  # numba's own are many
        warnings.warn(
            f"numba is installed, but {name} cannot be compiled with it, so NumPy is used: "
            f"{type(error).__name__}: {error}; {SWITCH}=0 says that it should not be tried",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
