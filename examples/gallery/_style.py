"""Give the gallery's pictures their look when the site is built.

In conf.py, `sphinx_gallery_conf` has `"ignore_pattern": r"^_"` and
`"reset_modules": ("matplotlib", "examples.gallery._style.use")`.
"""

from pathlib import Path
from typing import Any


def use(gallery_conf: Any = None, file: Any = None) -> None:
    """Apply gallery.mplstyle; sphinx-gallery calls this before each script."""
    import matplotlib.pyplot as plt

    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
