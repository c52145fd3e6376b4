"""A parametrized problem as a function with derivatives, free of any framework."""

from cvxlpgd.layer.call import Call
from cvxlpgd.layer.inputs import batch_axes, form_batch, real, spread
from cvxlpgd.layer.layer import Layer
from cvxlpgd.layer.problem import compile_layer
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.selection import Selection
from cvxlpgd.layer.settings import DEFAULT, Settings, check_single
from cvxlpgd.layer.summary import summarize, summary_html

__all__ = [
    "DEFAULT", "Call", "Layer", "Record", "Selection", "Settings", "batch_axes", "check_single",
    "compile_layer", "form_batch", "real", "spread", "summarize", "summary_html",
]  # fmt: skip
