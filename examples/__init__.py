"""Examples: scripts, and experiments that run as `python -m examples.NAME`."""
