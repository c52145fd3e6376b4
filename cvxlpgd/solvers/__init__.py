"""The solvers, one file each, and what it takes to write one. Importing them loads none of them."""

from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.cvxpy.solver import CVXPY
from cvxlpgd.solvers.daqp import DAQP
from cvxlpgd.solvers.dual_newton import DualNewton
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.gurobi.solver import Gurobi
from cvxlpgd.solvers.highs.solver import HiGHS
from cvxlpgd.solvers.moreau.solver import Moreau
from cvxlpgd.solvers.options import checked_options
from cvxlpgd.solvers.osqp import OSQP
from cvxlpgd.solvers.piqp import PIQP
from cvxlpgd.solvers.protocol import Solver
from cvxlpgd.solvers.qpth import QPTH
from cvxlpgd.solvers.refine.solver import Refined
from cvxlpgd.solvers.run.each import Answer, Sample, sample, solve_each
from cvxlpgd.solvers.run.prepared import Start, solve_prepared
from cvxlpgd.solvers.run.processes import Processes
from cvxlpgd.solvers.run.solve import solve
from cvxlpgd.solvers.scs import SCS

__all__ = [
    "CVXPY",
    "DAQP",
    "ECOS",
    "OSQP",
    "PIQP",
    "QPTH",
    "SCS",
    "Answer",
    "Clarabel",
    "DualNewton",
    "Gurobi",
    "HiGHS",
    "Moreau",
    "Processes",
    "Refined",
    "Sample",
    "Solver",
    "Start",
    "checked_options",
    "sample",
    "solve",
    "solve_each",
    "solve_prepared",
]


def __dir__() -> list[str]:
    """What is public."""
    return __all__
