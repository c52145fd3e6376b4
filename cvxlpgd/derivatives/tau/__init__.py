"""The size of a perturbation: read, chosen, reduced and enlarged."""
