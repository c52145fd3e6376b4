"""What Gurobi's status codes mean."""

from cvxlpgd.program import Status

NAMES = {
    1: "loaded", 2: "optimal", 3: "infeasible", 4: "infeasible or unbounded", 5: "unbounded",
    6: "cutoff", 7: "the iteration limit is reached", 8: "the node limit is reached",
    9: "the time limit is reached", 10: "the solution limit is reached", 11: "interrupted",
    12: "numerical trouble", 13: "the tolerances were not reached", 15: "the objective limit is "
    "reached", 16: "the work limit is reached", 17: "the memory limit is reached",
}  # fmt: skip
OPTIMAL, INFEASIBLE, OPEN, UNBOUNDED, NUMERIC, SHORT = 2, 3, 4, 5, 12, 13
STATUS = {OPTIMAL: Status.SOLVED, INFEASIBLE: Status.INFEASIBLE, UNBOUNDED: Status.UNBOUNDED}
