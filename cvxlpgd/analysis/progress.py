"""Progress bars, for whatever may take more than two seconds."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

DELAY = 2.0  # seconds before a bar appears: short work leaves the terminal alone


def progress_bar(name: str, wanted: bool | None, total: int | None = None) -> Any:
    """A bar on stderr that is gone when the work is done, if `wanted`; by default in a terminal."""
    shown = sys.stderr.isatty() if wanted is None else wanted
    return tqdm(desc=name, total=total, disable=not shown, delay=DELAY, leave=False)
