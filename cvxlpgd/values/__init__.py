"""Optimal values, envelopes of losses, and differences of Lagrangians."""
