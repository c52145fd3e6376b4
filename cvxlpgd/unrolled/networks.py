"""The networks that take the place of proximal operators in a learned scheme."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from cvxlpgd.errors import InvalidOption


def convolutions(*channels: int, kernel: int = 3) -> nn.Sequential:
    """One-dimensional convolutions with PReLU between them, (batch, first, n) -> (batch, last, n).

    The last one starts at zero: what is added to an iterate is 0 before training, so that an
    untrained scheme returns its start, whatever the sizes of its data.

    Parameters
    ----------
    channels : int
        Two or more, such as 2, 32, 32, 32, 1.
    kernel : int
        Entries that a convolution sees, odd.

    Raises
    ------
    InvalidOption
    """
    sizes = (*channels, kernel)
    if len(channels) < 2 or any(not isinstance(c, int) or c < 1 for c in sizes) or kernel % 2 == 0:
        raise InvalidOption(
            f"convolutions need two channels or more and an odd kernel, not {channels}, {kernel!r}"
        )
    layers: list[nn.Module] = []
    for into, out in pairwise(channels):
        last = nn.Conv1d(into, out, kernel, padding="same")
        layers += [last, nn.PReLU()]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers[:-1])
