"""Which tau a linear program's cost learns with: `python -m examples.regret`."""
