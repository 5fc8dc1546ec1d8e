"""The variational separable neural architecture: solve a PDE once over all its coordinates, then ask anywhere."""

from separable.galerkin.demonstration import demonstration
from separable.galerkin.problem import At, Coordinate, Field, Problem, Product, Source, Term
from separable.galerkin.separate import separate
from separable.galerkin.solution import Solution
from separable.galerkin.solve import solve

__all__ = [
    # stating a problem
    "At",
    "Coordinate",
    "Field",
    "Problem",
    "Product",
    "Source",
    "Term",
    # solving it
    "Solution",
    "separate",
    "solve",
    # seeing it
    "demonstration",
]
