"""What is asked of a problem beside its solution: comparisons, degeneracy, the fastest solver."""
