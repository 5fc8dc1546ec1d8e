"""What the tests of problems share: a Poisson problem, and how far a solution is from the truth."""

import numpy as np

from separable.atoms import BSpline
from separable.galerkin import Coordinate, Problem

PI = np.pi


def identity(x):
    return x


def error(u, truth, count=3000, **domains):
    """Relative L2 error at random points."""
    random = np.random.default_rng(3)
    places = {n: random.uniform(*d, count) for n, d in domains.items()}
    expected = truth(**places)
    return float(np.linalg.norm(u(**places) - expected) / np.linalg.norm(expected))


def poisson(atom, source=None):
    return Problem(
        [Coordinate("x", atom, "value", "value"), Coordinate("y", atom, "value", "value")],
        operator=[{"x": (1, 1)}, {"y": (1, 1)}],
        source=source or [{"x": lambda x: 2 * PI**2 * np.sin(PI * x), "y": lambda y: np.sin(PI * y)}],
    )


def sides(left="free", right="free", degree=3):
    side = BSpline(6, degree, (0.0, 1.0))
    return [Coordinate("x", side, left, right), Coordinate("y", side, left, right)]
