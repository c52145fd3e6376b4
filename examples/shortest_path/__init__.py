"""Decision-focused learning of shortest paths: `python -m examples.shortest_path`."""
