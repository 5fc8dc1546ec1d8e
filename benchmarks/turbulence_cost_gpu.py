"""What a step of a forecast costs on a GPU, beside the solver that advances the same time there.

Record 5c of the area turbulence. Small fields keep a GPU waiting for the next kernel, so both are timed twice: as
called, and as CUDA graphs, which launch all kernels of a step (or of all steps of the solver) at once. The solver is
the cheapest that is as accurate in record 5. A cost does not depend on the weights, so the forecaster is untrained.

    python -m benchmarks.turbulence_cost_gpu                    where there is a GPU, or in two steps
    python -m benchmarks.turbulence_cost_gpu measure FILE       there
    python -m benchmarks.turbulence_cost_gpu record FILE        anywhere

A trial (`benchmarks.trial`) is made by the processor, which has no graphs.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.forecast_cells import FLOW
from benchmarks.trial import TRIAL, usual
from benchmarks.turbulence_cost import sized
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import Stepper

SOLVER, STEP = 48, 0.02  # points along an axis and time step, see record 5
BATCHES = usual((1, 16, 256), trial=(1, 2))
SIZES = usual((64, 128, 256, 512, 1024), trial=(64, 256))
DEVICE = usual("cuda", trial="cpu")


def milliseconds(work: Callable[[], Any], times: int) -> float:
    """Of one call: median, by the clock of the GPU."""
    if TRIAL:
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)
    found = []
    for _ in range(times + 2):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        found.append(begun.elapsed_time(ended))
    return statistics.median(found[2:])


def graphed(work: Callable[[], Tensor]) -> Callable[[], Any]:
    """The same kernels, launched at once."""
    if TRIAL:
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.inference_mode():
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        work()
    return graph.replay


def forecasting(n: int, batch: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """One frame for each member, as `advance` does it, and with noise that the GPU draws."""
    forecaster = sized(n).to(DEVICE)
    frames = torch.randn(batch, 1, n, n, device=DEVICE)
    generators = [np.random.default_rng(b) for b in range(batch)]

    def there() -> Tensor:
        noise = torch.randn(batch, forecaster.noise_numbers, device=DEVICE)
        return forecaster.on_points(forecaster.step(forecaster.standardised(frames), noise), (n, n))

    return lambda: forecaster.advance(frames, generators), there


def solving(n: int, step: float, batch: int, steps: int) -> Callable[[], Tensor]:
    """A number of steps of the solver, from and to coefficients."""
    grid = Grid((n, n))
    stepper = Stepper(FLOW, grid, step, dtype=torch.float32, device=DEVICE)
    start = grid.coefficients(FLOW.random_start(grid, list(range(min(batch, 16)))))
    start = start.to(torch.complex64).to(DEVICE).repeat(-(-batch // len(start)), 1, 1)[:batch]
    return lambda: stepper.advance(start, steps)


def beside_the_solver() -> list[dict[str, Any]]:
    """A frame of 64^2 points by both."""
    rows = []
    for batch in BATCHES:
        called, there = forecasting(64, batch)
        solver = solving(SOLVER, STEP, batch, round(1 / STEP))
        row = {
            "members": batch,
            "forecast ms": milliseconds(called, 30),
            "solver ms": milliseconds(solver, 15),
            "forecast, graph, ms": milliseconds(graphed(there), 50),
            "solver, graph, ms": milliseconds(graphed(solver), 30),
        }
        row["solver over forecast"] = row["solver ms"] / row["forecast ms"]
        row["solver over forecast, graphs"] = row["solver, graph, ms"] / row["forecast, graph, ms"]
        rows.append(row)
        print(row, flush=True)
    return rows


def memory(work: Callable[[], Tensor]) -> float:
    """Bytes that a call takes at its peak."""
    if TRIAL:
        return math.nan
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.inference_mode():
        work()
    return torch.cuda.max_memory_allocated() - before


def on_grids() -> list[dict[str, Any]]:
    """A step of one member, and of the solver over the same time where its step follows the grid, on n x n points."""
    rows = []
    for n in SIZES:
        torch.cuda.empty_cache()
        _, there = forecasting(n, 1)
        held = memory(there) / n**2 / 1e3
        step = STEP * SOLVER / n  # the fastest wave crosses as many points in a step
        solver = milliseconds(graphed(solving(n, step, 1, 20)), 5) / 20 / step
        row = {"grid": f"{n}^2", "forecast, graph, ms": milliseconds(graphed(there), 20), "solver, graph, ms": solver}
        row |= {"solver over forecast, graphs": solver / row["forecast, graph, ms"], "kilobytes a cell": held}
        rows.append(row)
        print(row, flush=True)
    return rows


def measure() -> dict[str, Any]:
    """All of it, with the name of the GPU."""
    told = {"gpu": "processor" if TRIAL else torch.cuda.get_device_name(), "torch": torch.__version__}
    return told | {"beside": beside_the_solver(), "grids": on_grids()}


def write(found: dict[str, Any]) -> None:
    """The record of what was measured."""
    one, grids = found["beside"][0], found["grids"]
    fine = next(row for row in grids if row["grid"] == "256^2")
    faster = one["solver over forecast, graphs"]
    span = math.log2(SIZES[-1] / SIZES[0])
    order = math.log2(grids[-1]["forecast, graph, ms"] / grids[0]["forecast, graph, ms"]) / span
    record.write(
        "turbulence",
        "5c",
        claim=f"On one {found['gpu']} a step of a forecast takes 1/{faster:.2g} of the time of the solver that is as "
        f"accurate ({SOLVER}^2 points, step {STEP}) where both are CUDA graphs and one member is forecast, "
        f"1/{one['solver over forecast']:.2g} as called, 1/{found['beside'][-1]['solver over forecast, graphs']:.2g} "
        f"with {BATCHES[-1]} members; on n x n points, where the solver's step follows the grid, a forecast's grows as "
        f"n^{order:.2f}: 1/{fine['solver over forecast, graphs']:.2g} at {fine['grid']}",
        measured=found["beside"],
        target="a step 20 times faster than the solver; time of order 3 in n or less",
        holds=faster >= 20 and order <= 3,
        baselines=grids,
        command="python -m benchmarks.turbulence_cost_gpu",
        seeds=[0],
        spread="medians of 5 to 50 calls; float32",
        machine=f"{found['gpu']}, torch {found['torch']}",
    )


if __name__ == "__main__":
    verb, file = sys.argv[1:] or ("", "")
    if verb != "record" and not (TRIAL or torch.cuda.is_available()):
        print("left out: there is no GPU here")
    elif verb == "measure":
        Path(file).write_text(json.dumps(measure(), indent=1))
    else:
        write(json.loads(Path(file).read_text()) if file else measure())
