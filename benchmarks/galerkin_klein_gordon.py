"""Item 6: the (2+1)-dimensional Klein-Gordon problem of the SPINN paper, against a plain PINN at equal wall time.

    u_tt - laplace u + u^2 = f on [-1, 1]^2 x [0, 10],   u = (x + y) cos 2t + x y sin 2t

(Cho et al., arXiv:2306.15969, section 4 and appendix.) Boundary and initial values are data. They enter through a lift
that blends the boundary values with the cubic ``s(z) = (3 z - z^3) / 2``, not with the linear functions that this
solution happens to be made of, so that the lift is not the answer.
"""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.galerkin_networks_peers import Pinn, Spinn, train, uniform
from separable.atoms import BSpline
from separable.galerkin import Coordinate, Problem, Product, Source, Term, solve

END = 10.0


def exact(x: Any, y: Any, t: Any) -> Any:
    """The manufactured solution."""
    return (x + y) * np.cos(2 * t) + x * y * np.sin(2 * t)


def klein_gordon(intervals: int = 120, degree: int = 5) -> Problem:
    """The problem; ``intervals`` of time."""

    def z(x: Any) -> Any:
        return x

    def s(x: Any) -> Any:
        return (3 * x - x**3) / 2

    def square(x: Any) -> Any:
        return x * x

    def c(t: Any) -> Any:
        return np.cos(2 * t)

    def d(t: Any) -> Any:
        return np.sin(2 * t)

    # boundary values blended: (x + y) cos + [s(x) y + x s(y) - s(x) s(y)] sin; then the initial slope 2 x y, put right
    lift = [Source({"x": z, "t": c}), Source({"y": z, "t": c})]
    for a, b, sign in ((s, z, 1.0), (z, s, 1.0), (s, s, -1.0)):
        lift += [Source({"x": a, "y": b, "t": d}, sign), Source({"x": a, "y": b, "t": z}, -2 * sign)]
    lift.append(Source({"x": z, "y": z, "t": z}, 2.0))
    # f = u_tt - laplace u + u^2 = -4 u + u^2
    source = [Source({"x": z, "t": c}, -4.0), Source({"y": z, "t": c}, -4.0), Source({"x": z, "y": z, "t": d}, -4.0)]
    source += [
        Source({"x": square, "t": lambda t: c(t) ** 2}),
        Source({"y": square, "t": lambda t: c(t) ** 2}),
        Source({"x": z, "y": z, "t": lambda t: c(t) ** 2}, 2.0),
        Source({"x": square, "y": square, "t": lambda t: d(t) ** 2}),
        Source({"x": square, "y": z, "t": lambda t: c(t) * d(t)}, 2.0),
        Source({"x": z, "y": square, "t": lambda t: c(t) * d(t)}, 2.0),
    ]
    side = BSpline(2, 3, (-1.0, 1.0))
    return Problem(
        [
            Coordinate("x", side, "value", "value"),
            Coordinate("y", side, "value", "value"),
            Coordinate("t", BSpline(intervals, degree, (0.0, END)), "both"),
        ],
        operator=[{"t": (2, 0)}, Term({"x": (2, 0)}, -1.0), Term({"y": (2, 0)}, -1.0)],
        products=[Product({}, {})],
        source=source,
        lift=lift,
    )


def loss(model: Pinn | Spinn) -> Tensor:
    """Mean squared residual, and initial and boundary values with the SPINN paper's weights of 1 (ours for u_t: 1)."""
    side, time_ = (-1.0, 1.0), (0.0, END)
    points = 2000 if isinstance(model, Pinn) else 4096

    def truth(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return (x + y) * torch.cos(2 * t) + x * y * torch.sin(2 * t)

    (x, y, t), d = model.fields(model.sample([uniform(side), uniform(side), uniform(time_)], points))
    u = truth(x, y, t)
    total = ((d({2: 2}) - d({0: 2}) - d({1: 2}) + d({}) ** 2 - (u**2 - 4 * u)) ** 2).mean()
    zero = torch.zeros(1)
    (x, y, t), d = model.fields(model.sample([uniform(side), uniform(side), zero], points // 4))
    total = total + ((d({}) - (x + y)) ** 2).mean() + ((d({2: 1}) - 2 * x * y) ** 2).mean()
    for j in (0, 1):
        for end in (-1.0, 1.0):
            axes = [uniform(side), uniform(side), uniform(time_)]
            axes[j] = torch.tensor([end])
            (x, y, t), d = model.fields(model.sample(axes, points // 8))
            total = total + ((d({}) - truth(x, y, t)) ** 2).mean()
    return total


def main() -> None:
    """Measure and record."""
    began = time.perf_counter()
    u = solve(klein_gordon(), rank=3, tolerance=1e-9, newton=8, progress=False)
    seconds = time.perf_counter() - began
    random = np.random.default_rng(1)
    x, y, t = random.uniform(-1, 1, 10000), random.uniform(-1, 1, 10000), random.uniform(0, END, 10000)
    truth = exact(x, y, t)
    error = float(np.linalg.norm(u(x=x, y=y, t=t) - truth) / np.linalg.norm(truth))
    print("separable", error, u.error_estimate, seconds, flush=True)
    points = torch.from_numpy(np.stack([x, y, t], axis=1)).float()
    domains = [(-1.0, 1.0), (-1.0, 1.0), (0.0, END)]
    baselines, equal = [], math.inf
    for name, kind, budget in (
        ("PINN, equal time", Pinn, seconds),
        ("PINN", Pinn, max(60.0, 10 * seconds)),
        ("SPINN (rank 32)", Spinn, max(60.0, 10 * seconds)),
    ):
        torch.manual_seed(0)
        model = kind(domains)
        steps = train(model, loss, budget)
        with torch.no_grad():
            values = model(points)[:, 0].double().numpy()
        found = float(np.linalg.norm(values - truth) / np.linalg.norm(truth))
        equal = min(equal, found) if "equal" in name else equal
        baselines.append({"method": name, "seconds": budget, "steps": steps, "relative L2 error": found})
        print(baselines[-1], flush=True)
    best = min(b["relative L2 error"] for b in baselines)
    record.write(
        "galerkin",
        "6",
        claim="Klein-Gordon in two space coordinates and time (SPINN paper): error at equal wall time against a PINN",
        measured={
            "relative L2 error": error,
            "estimate": u.error_estimate,
            "rank": u.rank,
            "seconds (solve and estimate)": seconds,
            "PINN error / ours, equal time": equal / error,
            "best network's error / ours, at least 60 s": best / error,
        },
        target="at least 100 times lower than the PINN's at equal wall time",
        holds=equal >= 100 * error,
        baselines=baselines,
        command="python -m benchmarks.galerkin_klein_gordon",
        seeds=[0],
        spread="one seed for the networks",
    )


if __name__ == "__main__":
    main()
