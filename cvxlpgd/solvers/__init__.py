"""The solvers, one file each, and what it takes to write one. Importing them loads none of them."""

from cvxlpgd.solvers._each import Answer, Sample, sample, solve_each
from cvxlpgd.solvers._prepared import Start, solve_prepared
from cvxlpgd.solvers._processes import Processes
from cvxlpgd.solvers._protocol import Solver, checked_options
from cvxlpgd.solvers.clarabel import Clarabel
from cvxlpgd.solvers.cvxpy import CVXPY
from cvxlpgd.solvers.daqp import DAQP
from cvxlpgd.solvers.ecos import ECOS
from cvxlpgd.solvers.highs import HiGHS
from cvxlpgd.solvers.moreau import Moreau
from cvxlpgd.solvers.osqp import OSQP
from cvxlpgd.solvers.piqp import PIQP
from cvxlpgd.solvers.refined import Refined
from cvxlpgd.solvers.scs import SCS

__all__ = [
    "CVXPY",
    "DAQP",
    "ECOS",
    "OSQP",
    "PIQP",
    "SCS",
    "Answer",
    "Clarabel",
    "HiGHS",
    "Moreau",
    "Processes",
    "Refined",
    "Sample",
    "Solver",
    "Start",
    "checked_options",
    "sample",
    "solve_each",
    "solve_prepared",
]
