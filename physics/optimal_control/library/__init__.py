"""Optimal-control problems by name, with the values that their solutions are known to have.

>>> reference = named_problem("scalar_lq")
>>> reference.problem.states, round(reference.J, 6), reference.tolerance
(('x1',), 0.192909, 1e-14)
"""

from .catalogue import named_problem, problem_names
from .reference import Reference

__all__ = ["Reference", "named_problem", "problem_names"]
