"""Burgers' equation in one space-time solve: a quadratic term, a graded mesh, and continuation towards a sharp front.

    u_t + u u_x - nu u_xx = 0 on [-1, 1] x [0, 1],    u(-1, t) = u(1, t) = 0,    u(x, 0) = -sin(pi x)

The initial value enters through the lift, which the unknown equals at t = 0 and at both ends. Newton's method needs a
start: a larger viscosity gives one.
"""

import numpy as np

from separable.atoms import BSpline
from separable.galerkin import Coordinate, Problem, Product, Term, solve

places = np.sinh(4.0 * np.linspace(-1, 1, 65)) / np.sinh(4.0)  # crowd about x = 0, where the front forms
places[0], places[-1] = -1.0, 1.0


def burgers(viscosity: float) -> Problem:
    """The problem at one viscosity."""
    return Problem(
        coordinates=[
            Coordinate("x", BSpline(degree=4, knots=tuple(places)), left="value", right="value"),
            Coordinate("t", BSpline(40, degree=4, domain=(0.0, 1.0)), left="value"),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0)}, factor=-viscosity)],
        products=[Product({}, {"x": 1})],
        lift=[{"x": lambda x: -np.sin(np.pi * x)}],
    )


u = None
for viscosity in (0.2, 0.08, 0.03):
    u = solve(burgers(viscosity), rank=14, tolerance=1e-5, start=u, estimate=viscosity == 0.03)
    print(f"viscosity {viscosity}: slope at the front {u.derivative({'x': 1}, x=0.0, t=0.6):.2f}")
print(u)
