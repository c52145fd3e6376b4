"""Newton refinement of a solver's point on the optimality conditions."""
