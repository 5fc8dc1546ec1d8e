"""The flow solver beside exponax: the same numbers, the order of convergence, and the time of a step.

Record `flow` of the area turbulence. Both run on one core, one after the other; exponax in an environment of its
own, see `turbulence_solver_peers.py`. Fields are compared in float64 on grids where both keep the same modes.
"""

import itertools
import math
import os
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.trial import usual
from benchmarks.turbulence_solver_peers import exponax
from domains.turbulence.flows import DecayingTurbulence, Flow, KolmogorovFlow, KuramotoSivashinsky
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import Stepper, simulate

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.turbulence_solver"
FLOW = KolmogorovFlow()
SIZES = usual(((64, 1), (64, 16), (256, 1), (256, 16)), trial=((64, 1),))
REPETITIONS = usual(15, trial=2)


def developed(flow: Flow, grid: Grid, samples: int, time_passed: float, step: float) -> torch.Tensor:
    """Fields that have forgotten their start."""
    start = flow.random_start(grid, range(samples))
    return simulate(flow, grid, start, [usual(time_passed, trial=0.1)], step=step).fields[:, 0]


def job(flow: Flow, grid: Grid, step: float, steps: int, repetitions: int, dtype: str = "float64") -> dict[str, Any]:
    """What exponax is asked for."""
    common = {"length": grid.lengths[0], "step": step, "steps": steps, "repetitions": repetitions, "dtype": dtype}
    if isinstance(flow, KolmogorovFlow):
        names = ("viscosity", "drag", "forcing_mode", "forcing_amplitude")
        return {"flow": "kolmogorov", **{name: getattr(flow, name) for name in names}, **common}
    if isinstance(flow, DecayingTurbulence):
        return {"flow": "decaying", "viscosity": flow.viscosity, "drag": flow.drag, **common}
    return {"flow": "kuramoto_sivashinsky", **common}


def convergence() -> dict[str, Any]:
    """Errors at three steps on a turbulent 96^2 field after half a unit of time, and the orders between them."""
    grid = Grid((96, 96))
    start = developed(FLOW, grid, 1, 20.0, 0.0125)

    def fields(steps: int) -> torch.Tensor:
        return simulate(FLOW, grid, start, [0.5], step=0.5 / steps).fields

    exact = fields(640)
    errors = [float((fields(n) - exact).abs().max()) for n in (40, 80, 160)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    return {"errors at 40, 80, 160 steps": " ".join(f"{e:.2e}" for e in errors), "order": orders[-1]}


def timed(stepper: Stepper, modes: torch.Tensor, steps: int, repetitions: int) -> tuple[float, float]:
    """Seconds of one step, fastest and median."""
    stepper.advance(modes, 2)
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        stepper.advance(modes, steps)
        seconds.append((time.perf_counter() - began) / steps)
    return min(seconds), statistics.median(seconds)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        # JAX takes every core that it may use, whatever it is told; the process that runs it inherits this one.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    compared = [
        (FLOW, Grid((48, 48)), 20.0, 0.01, 100),
        (FLOW, Grid((96, 96)), 20.0, 0.005, 200),
        (DecayingTurbulence(viscosity=2e-3, drag=0.1), Grid((96, 96)), 2.0, 0.005, 200),
        (KuramotoSivashinsky(), Grid((96,), (60.0,)), 100.0, 0.05, 100),
    ]
    jobs, starts, mine = [], [], []
    for flow, grid, passed, step, steps in compared:
        start = developed(flow, grid, 2, passed, step)
        start = grid.fields(grid.coefficients(start))
        jobs.append(job(flow, grid, step, steps, 0))
        starts.append(start.numpy())
        mine.append(simulate(flow, grid, start, [step * steps], step=step).fields[:, 0].numpy())
    cases = [(n, b, d) for d in ("float64", "float32") for n, b in SIZES]
    times = []
    for n, batch, dtype in cases:
        grid, steps = Grid((n, n)), 40 if n == 64 else 4
        start = FLOW.random_start(grid, range(batch)).to(getattr(torch, dtype))
        stepper = Stepper(FLOW, grid, 0.001, dtype=start.dtype)
        times.append(timed(stepper, grid.coefficients(start), steps, REPETITIONS))
        jobs.append(job(FLOW, grid, 0.001, steps, REPETITIONS, dtype))
        starts.append(start.numpy())
    others = exponax(jobs, starts)
    order = convergence()

    differences = {}
    if others is not None:
        for (flow, grid, _, step, steps), fields, other in zip(compared, mine, others, strict=False):
            name = f"{type(flow).__name__}, {' x '.join(map(str, grid.shape))}, {steps} steps of {step:g}"
            differences[name] = float(np.abs(fields - other["fields"]).max() / np.abs(fields).max())
    rows, peers = [], []
    for index, ((n, batch, dtype), (fastest, median)) in enumerate(zip(cases, times, strict=True)):
        case = f"{n}^2, {batch} sample{'s' * (batch > 1)}, {dtype}"
        row = {"case": case, "steps per second": 1 / fastest, "milliseconds a step and sample": 1e3 * fastest / batch}
        row["median over fastest"] = median / fastest
        if others is not None:
            other = others[len(compared) + index]
            row["times faster than exponax"] = other["fastest"] / fastest
            peers.append(
                {"method": others[-1]["version"], "case": case, "steps per second": 1 / other["fastest"]}
                | {"median over fastest": other["median"] / other["fastest"]}
            )
        rows.append(row)
    told = "; ".join(f"{name}: {value:.1e}" for name, value in differences.items()) or "exponax is not there"
    content: dict[str, Any] = {
        "claim": "The flow solver gives exponax's numbers, at order 4 in time. "
        f"Greatest difference over greatest value: {told}. "
        f"Order {order['order']:.2f} (errors {order['errors at 40, 80, 160 steps']} at 40, 80, 160 steps in half a "
        "unit of time)",
        "measured": rows,
        "target": "relative difference from exponax at most 1e-6; order between 3.7 and 4.5",
        "holds": len(differences) == len(compared) and max(differences.values()) <= 1e-6 and 3.7 < order["order"] < 4.5,
        "baselines": peers or "exponax is not there (EXPONAX_PYTHON names an interpreter that has it)",
        "command": COMMAND,
        "seeds": [0, 1],
        "spread": f"fastest of {REPETITIONS} on a shared machine, and the median over it; one core for "
        "both, one after the other; exponax's steps are one compiled loop, ours are calls from Python",
    }
    record.write("turbulence", "flow", **content)


if __name__ == "__main__":
    main()
