"""Start each script of the gallery afresh when the site is built: all run in one process.

In conf.py, `sphinx_gallery_conf` has `"ignore_pattern": r"^_"` and
`"reset_modules": ("matplotlib", "examples.gallery._style.use")`.
"""

from pathlib import Path
from typing import Any


def use(gallery_conf: Any = None, file: Any = None) -> None:
    """Apply gallery.mplstyle and undo another script's dtype; sphinx-gallery calls this."""
    import matplotlib.pyplot as plt
    import torch

    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    torch.set_default_dtype(torch.float32)
