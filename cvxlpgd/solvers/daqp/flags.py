"""What DAQP's numbers mean: exit flags, and where a row of its model stands."""

from cvxlpgd.program import Status

SOLVED = 1  # an exit flag
STATUS = {SOLVED: Status.SOLVED, -1: Status.INFEASIBLE, -3: Status.UNBOUNDED}
MESSAGES = {
    -1: "",  # the status says it
    -3: "",
    -2: "cycling",
    -4: "the iteration limit is reached",
    -5: "the objective is not strictly convex",
    -6: "the equalities contradict each other, or are redundant",
    -7: "the time limit is reached",
}
ACTIVE, LOWER, EQUALITY = 1, 2, 5  # of a row's `sense`


def message_of(flag: int) -> str:
    """What an exit flag says."""
    return MESSAGES.get(flag, f"exit flag {flag}")
