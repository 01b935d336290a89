"""Optimal control: problems, the Euler-Lagrange system derived from them, classical solvers, certificates."""

from .batch import Batch, cases_of, solve_points
from .certificate import Certificate, certify, polish
from .collocation import Cases, Collocation, Extremals
from .hamiltonian import EulerLagrange
from .library import Reference, named_problem, problem_names
from .mesh import Mesh
from .problem import Family, Problem
from .realise import realise
from .scaling import Scales, natural_scales, scaled, unscaled
from .solver import solve

__all__ = [
    "Batch",
    "Cases",
    "Certificate",
    "Collocation",
    "EulerLagrange",
    "Extremals",
    "Family",
    "Mesh",
    "Problem",
    "Reference",
    "Scales",
    "cases_of",
    "certify",
    "named_problem",
    "natural_scales",
    "polish",
    "problem_names",
    "realise",
    "scaled",
    "solve",
    "solve_points",
    "unscaled",
]
