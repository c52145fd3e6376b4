"""Unrolled schemes on nonlinear inverse problems: `python -m examples.unrolled.deconvolution`."""
