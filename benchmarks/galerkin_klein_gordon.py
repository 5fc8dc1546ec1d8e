"""Item 6: the (2+1)-dimensional Klein-Gordon problem of the SPINN paper, against a plain PINN at equal wall time.

    u_tt - laplace u + u^2 = f on [-1, 1]^2 x [0, 10],   u = (x + y) cos 2t + x y sin 2t

(Cho et al., arXiv:2306.15969, section 4 and appendix.) Boundary and initial values are data. They enter through a lift
that blends the boundary values with the cubic ``s(z) = (3 z - z^3) / 2``, not with the linear functions that this
solution happens to be made of, so that the lift is not the answer.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.galerkin_networks_peers import Derivative, Network, Pinn, Setting, Spinn, Task, train, tuned, uniform
from benchmarks.trial import usual
from separable.atoms import BSpline
from separable.galerkin import Coordinate, Problem, Product, Source, Term, solve

END = 10.0
INTERVALS = usual(120, trial=10)  # of time
SHORT = usual(25.0, trial=0.1)  # seconds that each setting of a network is tried
LEAST, LONGER = usual((60.0, 10), trial=(0.5, 2))  # the best one's: at least, and in times of ours


def exact(x: Any, y: Any, t: Any) -> Any:
    """The manufactured solution."""
    return (x + y) * np.cos(2 * t) + x * y * np.sin(2 * t)


def klein_gordon(intervals: int = INTERVALS, degree: int = 5) -> Problem:
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


def _blend(x: Tensor) -> Tensor:
    return (3 * x - x**3) / 2


def _lift_of_side(j: int) -> Callable[[Tensor], Tensor]:
    """Factors of the lift along x (j = 0) or y (j = 1): the same lift that our own solve is given."""

    def factors(x: Tensor) -> Tensor:
        one, s = torch.ones_like(x), _blend(x)
        return torch.stack([x, one, s, x, s, x] if j == 0 else [one, x, x, s, s, x], dim=1)

    return factors


def _lift_of_time(t: Tensor) -> Tensor:
    cosine, rest = torch.cos(2 * t), torch.sin(2 * t) - 2 * t
    return torch.stack([cosine, cosine, rest, rest, -rest, 2 * t], dim=1)


def truth(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """The manufactured solution."""
    return (x + y) * torch.cos(2 * t) + x * y * torch.sin(2 * t)


def equation(columns: Sequence[Tensor], d: Derivative) -> Tensor:
    """The residual."""
    u = truth(*columns)
    return d({2: 2}) - d({0: 2}) - d({1: 2}) + d({}) ** 2 - (u**2 - 4 * u)


def penalties(model: Network, points: int) -> Tensor:
    """Mean squared violations of the initial value, the initial slope and the boundary values."""
    side, time_ = (-1.0, 1.0), (0.0, END)
    zero = torch.zeros(1)
    (x, y, t), d = model.fields(model.sample([uniform(side), uniform(side), zero], max(16, points // 4)))
    total = ((d({}) - (x + y)) ** 2).mean() + ((d({2: 1}) - 2 * x * y) ** 2).mean()
    for j in (0, 1):
        for end in (-1.0, 1.0):
            axes = [uniform(side), uniform(side), uniform(time_)]
            axes[j] = torch.tensor([end])
            (x, y, t), d = model.fields(model.sample(axes, max(16, points // 8)))
            total = total + ((d({}) - truth(x, y, t)) ** 2).mean()
    return total


TASK = Task(
    domains=[(-1.0, 1.0), (-1.0, 1.0), (0.0, END)],
    equation=equation,
    penalties=penalties,
    lift=[_lift_of_side(0), _lift_of_side(1), _lift_of_time],
    envelope=[lambda x: 1 - x * x, lambda y: 1 - y * y, lambda t: t * t / (1 + t * t)],
)
SETTINGS: dict[type[Network], list[Setting]] = {
    Pinn: [
        Setting(depth=4, rate=1e-3, points=1024, hard=False, weight=10.0),
        Setting(depth=4, rate=3e-3, points=512, hard=False, weight=100.0, activation="sin", frequency=4.0),
        Setting(depth=3, rate=3e-3, points=512),
        Setting(depth=3, rate=3e-3, points=512, activation="sin", frequency=4.0),
        Setting(width=32, depth=3, rate=5e-3, points=256, activation="sin", frequency=2.0),
        Setting(width=32, depth=3, rate=5e-3, points=512, finish=0.5),
    ],
    Spinn: [
        Setting(rate=1e-3, points=16**3, hard=False, weight=10.0),
        Setting(rate=3e-3, points=12**3, hard=False, weight=100.0, activation="sin", frequency=4.0),
        Setting(width=32, depth=2, rank=16, rate=5e-3, points=12**3),
        Setting(width=32, depth=2, rank=16, rate=3e-3, points=12**3, activation="sin", frequency=4.0),
        Setting(width=32, depth=2, rank=16, rate=5e-3, points=16**3, finish=0.5),
    ],
}


def main() -> None:
    """Measure and record."""
    began = time.perf_counter()
    u = solve(klein_gordon(), rank=3, tolerance=1e-9, newton=8, progress=False)
    seconds = time.perf_counter() - began
    random = np.random.default_rng(1)
    x, y, t = random.uniform(-1, 1, 10000), random.uniform(-1, 1, 10000), random.uniform(0, END, 10000)
    known = exact(x, y, t)
    error = float(np.linalg.norm(u(x=x, y=y, t=t) - known) / np.linalg.norm(known))
    print("separable", error, u.error_estimate, seconds, flush=True)
    points = torch.from_numpy(np.stack([x, y, t], axis=1)).float()
    baselines: list[dict[str, Any]] = []
    equal: dict[type[Network], float] = {}
    for kind, settings in SETTINGS.items():
        best, tried = tuned(kind, TASK, settings, SHORT)
        for budget in (seconds, max(LEAST, LONGER * seconds)):
            torch.manual_seed(1)
            model = kind(TASK, best)
            steps = train(model, budget)
            with torch.no_grad():
                values = model(points)[:, 0].double().numpy()
            found = float(np.linalg.norm(values - known) / np.linalg.norm(known))
            equal.setdefault(kind, found)
            row = {"method": kind.__name__.upper(), "setting": str(best), "seconds": budget, "steps": steps}
            row |= {"own loss on fresh points": TASK.validation(model), "relative L2 error": found}
            baselines.append(row)
            print(row, flush=True)
        baselines += tried
    least = min(b["relative L2 error"] for b in baselines if "relative L2 error" in b)
    record.write(
        "galerkin",
        "6",
        claim="Klein-Gordon in two space coordinates and time (SPINN paper): error at equal wall time against a PINN",
        measured={
            "relative L2 error": error,
            "estimate": u.error_estimate,
            "rank": u.rank,
            "seconds (solve and estimate)": seconds,
            "PINN error / ours, equal time": equal[Pinn] / error,
            "SPINN error / ours, equal time": equal[Spinn] / error,
            "best network's error / ours, at least 60 s": least / error,
        },
        target="at least 100 times lower than the PINN's at equal wall time",
        holds=equal[Pinn] >= 100 * error,
        baselines=baselines,
        command="python -m benchmarks.galerkin_klein_gordon",
        seeds=[0, 1],
        spread=(
            f"networks: each setting tried for {SHORT:g} s with seed 0, the best by its own loss trained afresh with "
            "seed 1; the tuning is not counted in their time; wall time on one core shared with other work; this "
            "solution is a sum of a few products, which favours separable methods (ours and SPINN)"
        ),
    )


if __name__ == "__main__":
    main()
