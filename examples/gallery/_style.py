"""Give the gallery's pictures their look when the site is built.

    sphinx_gallery_conf = {
        "reset_modules": ("matplotlib", "examples.gallery._style.use"),
        "ignore_pattern": r"^_",
        ...
    }
"""

from pathlib import Path
from typing import Any


def use(gallery_conf: Any = None, file: Any = None) -> None:
    """Apply gallery.mplstyle; sphinx-gallery calls this before each script."""
    import matplotlib.pyplot as plt

    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
