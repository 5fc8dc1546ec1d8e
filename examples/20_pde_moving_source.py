"""Solve a heat equation once over place, time and diffusivity; then ask for values, slopes, integrals and slices.

    u_t - d u_xx = exp(-(x - 0.2 - 0.6 t)^2 / 0.005),    u = 0 at x = 0, x = 1 and t = 0,    d from 0.02 to 0.2

The source moves, so it is not a product; `Field` states how well its separable form has to agree. The diffusivity d is
a coordinate like x and t: no further solve is needed for another d.
"""

import numpy as np

from separable.atoms import BSpline
from separable.galerkin import Coordinate, Field, Problem, Term, solve

problem = Problem(
    coordinates=[
        Coordinate("x", BSpline(40, degree=4, domain=(0.0, 1.0)), left="value", right="value", unit="m"),
        Coordinate("t", BSpline(40, degree=4, domain=(0.0, 1.0)), left="value", unit="s"),
        Coordinate("d", BSpline(4, degree=4, domain=(0.02, 0.2)), unit="m2/s"),
    ],
    operator=[{"t": (1, 0)}, Term({"x": (2, 0), "d": (0, 0, lambda d: d)}, factor=-1.0)],
    source=[Field(lambda x, t: np.exp(-((x - 0.2 - 0.6 * t) ** 2) / 0.005), tolerance=1e-5)],
    name="temperature",
)

u = solve(problem, rank=30, tolerance=1e-4)
print(u)

print("one value:           ", u(x=0.5, t=0.6, d=0.1))
print("many values:         ", u(x=0.5, t=0.6, d=np.array([0.02, 0.05, 0.2])))
print("slopes:              ", u.gradient(x=0.5, t=0.6, d=0.1))
print("heat in the rod:     ", u.integral(["x"], t=0.6, d=0.1))
print("averaged over all d: ", u.integral(["d"], x=0.5, t=0.6) / 0.18)
print(u.slice(d=0.1, points=5))

figure = u.plot("x", "t", d=0.05)  # a matplotlib Figure: figure.savefig("temperature.png")
layer = u.layer  # a torch module, for other code: layer(points), separable.invert(layer, ...)
