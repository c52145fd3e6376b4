"""Tune a portfolio policy by its rollouts: `python -m examples.markowitz`."""
