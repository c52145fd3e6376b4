"""What a solver made of a batch of programs: `cvxlpgd.program.solution`."""

from cvxlpgd.program.solution import Solution, Status

__all__ = ["Solution", "Status"]
