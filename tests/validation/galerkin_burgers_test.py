"""Burgers' equation at nu = 0.01/pi, one space-time solve, against the Cole-Hopf solution."""

import math

import numpy as np
import pytest

from separable.atoms import BSpline
from separable.galerkin import Coordinate, Problem, Product, Term, solve

NU = 0.01 / math.pi


def burgers(nu):
    knots = np.sinh(5.0 * np.linspace(-1, 1, 129)) / math.sinh(5.0)
    knots[[0, -1]], knots[64] = (-1.0, 1.0), 0.0
    return Problem(
        [
            Coordinate("x", BSpline(degree=3, knots=tuple(knots)), "value", "value"),
            Coordinate("t", BSpline(100, 3, (0.0, 1.0)), "value"),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0)}, factor=-nu)],
        products=[Product({}, {"x": 1})],
        lift=[{"x": lambda x: -np.sin(math.pi * x)}],
    )


def cole_hopf(x, t):
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    y = x[..., None] - np.sqrt(4 * NU * t)[..., None] * nodes
    exponent = -np.cos(math.pi * y) / (2 * math.pi * NU)
    heights = np.exp(exponent - exponent.max(axis=-1, keepdims=True)) * weights
    return -(heights * np.sin(math.pi * y)).sum(axis=-1) / heights.sum(axis=-1)


@pytest.mark.validation
def test_burgers_within_a_thousandth_and_the_estimate_within_a_factor_of_ten():
    u = None
    for factor in (64.0, 24.0, 9.0, 3.6, 1.6):
        u = solve(
            burgers(factor * NU),
            rank=16,
            tolerance=1e-3,
            newton=3,
            sweeps=4,
            start=u,
            estimate=False,
            progress=False,
        )
    u = solve(burgers(NU), rank=20, start=u, sweeps=4, progress=False)
    x, t = np.meshgrid(np.linspace(-1, 1, 801), np.linspace(0.01, 1, 50), indexing="ij")
    truth = cole_hopf(x, t)
    found = np.linalg.norm(u(x=x, t=t) - truth) / np.linalg.norm(truth)
    assert found < 1e-3
    assert found / 10 < u.error_estimate < 10 * found
