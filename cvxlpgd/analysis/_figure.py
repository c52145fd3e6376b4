"""Figures that notebooks and documentation show without pyplot."""

from __future__ import annotations

import base64
import io

from matplotlib.figure import Figure

DPI = 150


class Picture(Figure):
    """A figure that shows itself where it is the value of a cell."""

    def _repr_html_(self) -> str:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        text = base64.b64encode(file.getvalue()).decode()
        return f'<img src="data:image/png;base64,{text}" style="max-width:100%">'


def new_picture(width: float, height: float) -> Picture:
    """An empty one, on a white ground of its own, in inches."""
    return Picture(figsize=(width, height), layout="constrained", facecolor="white")
