"""The path of the perturbed solutions, linearized."""
