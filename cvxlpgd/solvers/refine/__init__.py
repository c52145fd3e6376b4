"""Our own Newton refinement: from any solver's point to a solution to rounding, or a refusal."""
