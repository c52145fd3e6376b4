"""What Gurobi calls its parameters: those of solves, without those of licenses and of tuning."""

NAMES = """
AggFill Aggregate BarConvTol BarCorrectors BarHomogeneous BarIterLimit BarOrder BarQCPConvTol
BestBdStop BestObjStop BQPCuts BranchDir CliqueCuts ConcurrentMIP CoverCuts Crossover CrossoverBasis
CutAggPasses Cutoff CutPasses Cuts DegenMoves Disconnected DisplayInterval DualImpliedCuts
DualReductions FeasibilityTol FlowCoverCuts FlowPathCuts GomoryPasses GUBCoverCuts Heuristics
ImpliedCuts ImproveStartGap ImproveStartNodes ImproveStartTime ImproveStartWork InfProofCuts
InfUnbdInfo IntegralityFocus IntFeasTol IterationLimit LiftProjectCuts LogFile LogToConsole
LPWarmStart MarkowitzTol MemLimit Method MinRelNodes MIPFocus MIPGap MIPGapAbs MIPSepCuts
MIQCPMethod MIRCuts MixingCuts ModKCuts NetworkAlg NetworkCuts NodefileDir NodefileStart NodeLimit
NodeMethod NonConvex NoRelHeurTime NoRelHeurWork NormAdjust NumericFocus OBBT ObjScale
OptimalityTarget OptimalityTol OutputFlag PartitionPlace PDHGAbsTol PDHGConvTol PDHGGPU
PDHGIterLimit PDHGRelTol PerturbValue PoolGap PoolGapAbs PoolSearchMode PoolSolutions PreCrush
PreDepRow PreDual PreMIQCPForm PrePasses PreQLinearize Presolve PreSparsify ProjImpliedCuts PSDCuts
PSDTol PumpPasses QCPDual Quad RelaxLiftCuts ResultFile RINS RLTCuts ScaleFlag Seed Sifting
SiftMethod SimplexPricing SoftMemLimit SolutionLimit SolutionTarget StartNodeLimit StrongCGCuts
SubMIPCuts SubMIPNodes Symmetry ThreadLimit Threads TimeLimit VarBranch verbose WorkLimit
ZeroHalfCuts ZeroObjNodes
"""
