"""A parametrized problem as a function with derivatives, free of any framework."""

from cvxlpgd.layer.call import Call
from cvxlpgd.layer.inputs import batch_axes, form_batch, real, spread
from cvxlpgd.layer.layer import Layer
from cvxlpgd.layer.record import Record
from cvxlpgd.layer.selection import Selection
from cvxlpgd.layer.settings import DEFAULT, Settings, check_single

__all__ = [
    "DEFAULT", "Call", "Layer", "Record", "Selection", "Settings", "batch_axes", "check_single",
    "form_batch", "real", "spread",
]  # fmt: skip
