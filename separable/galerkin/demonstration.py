"""A heat source that moves, solved once over place, time and diffusivity; what a demonstration can show in seconds."""

import time
from typing import Any

import numpy as np
import scipy.linalg

from separable.atoms import BSpline
from separable.galerkin.problem import Array, Coordinate, Field, Problem, Term
from separable.galerkin.solve import solve

DIFFUSIVITIES = (0.02, 0.2)


def _source(x: Array, t: Array) -> Array:
    """A spot of width 0.07 that moves from 0.2 to 0.8: not a product of a function of x and one of t."""
    return np.asarray(np.exp(-((x - 0.2 - 0.6 * t) ** 2) / 0.005))


def moving_source() -> Problem:
    """``u_t - d u_xx = source(x, t)`` on the unit interval, u = 0 at its ends and at the start; d is a coordinate."""
    return Problem(
        [
            Coordinate("x", BSpline(40, 4, (0.0, 1.0)), "value", "value"),
            Coordinate("t", BSpline(40, 4, (0.0, 1.0)), "value"),
            Coordinate("d", BSpline(4, 4, DIFFUSIVITIES)),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0), "d": (0, 0, lambda d: d)}, factor=-1.0)],
        source=[Field(_source, tolerance=1e-5)],
        name="temperature",
    )


def finite_differences(diffusivity: float, points: int = 401, steps: int = 800) -> tuple[Array, Array, Array]:
    """Crank-Nicolson on a uniform grid: places ``(n,)``, times ``(m,)``, temperatures ``(n, m)``."""
    x, t = np.linspace(0, 1, points), np.linspace(0, 1, steps + 1)
    ratio = diffusivity * (t[1] - t[0]) / (2 * (x[1] - x[0]) ** 2)
    band = np.zeros((3, points - 2))
    band[0, 1:], band[1], band[2, :-1] = -ratio, 1 + 2 * ratio, -ratio
    u = np.zeros((points, steps + 1))
    for k in range(steps):
        heat = 0.5 * (t[1] - t[0]) * (_source(x, t[k]) + _source(x, t[k + 1]))[1:-1]
        explicit = u[1:-1, k] + ratio * (u[2:, k] - 2 * u[1:-1, k] + u[:-2, k])
        u[1:-1, k + 1] = scipy.linalg.solve_banded((1, 1), band, explicit + heat)
    return x, t, u


def demonstration() -> tuple[dict[str, float], Any]:
    """Solve, check against finite differences, ask 100,000 times, and draw.

    Returns:
        Numbers by name (seconds, relative errors, rank), and a matplotlib Figure with the field at two diffusivities
        and the residual against rank.
    """
    from matplotlib.figure import Figure

    u = solve(moving_source(), rank=30, tolerance=1e-4, progress=False)
    errors = []
    for diffusivity in (0.03, 0.08, 0.17):
        x, t, truth = finite_differences(diffusivity)
        ours = u.slice(x=x, t=t[::8], d=diffusivity)["temperature"].values
        errors.append(float(np.linalg.norm(ours - truth[:, ::8]) / np.linalg.norm(truth[:, ::8])))
    random = np.random.default_rng(0)
    began = time.perf_counter()
    u(x=random.random(100_000), t=random.random(100_000), d=random.uniform(*DIFFUSIVITIES, 100_000))
    asked = time.perf_counter() - began

    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, diffusivity in zip(axes[:2], DIFFUSIVITIES, strict=True):
        field = u.slice(d=diffusivity)["temperature"]
        image = axis.pcolormesh(field["x"], field["t"], field.transpose("t", "x"), shading="gouraud")
        figure.colorbar(image, ax=axis)
        axis.set(title=f"temperature, diffusivity {diffusivity}", xlabel="x", ylabel="t")
    ranks, residuals = zip(*u.history, strict=True)
    axes[2].semilogy(ranks, residuals, ".")
    axes[2].set(title="relative residual", xlabel="rank")
    numbers = {
        "seconds to solve": u.seconds,
        "rank": float(u.rank),
        "estimated relative error": u.error_estimate,
        "worst relative error against finite differences": max(errors),
        "seconds for 100,000 questions": asked,
    }
    return numbers, figure
