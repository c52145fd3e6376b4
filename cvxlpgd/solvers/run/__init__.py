"""Running a solver on a batch: each sample, guarded, certified, in parallel, one after another."""
