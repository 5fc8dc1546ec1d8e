"""What a step of a forecast costs: beside the solver that advances the same time, and on finer grids.

Record 5 of the area turbulence. One core, one after the other in the same process; memory
in a process for each grid. The accuracy and the picture are of head A of seed 0 of `turbulence_forecast`, which must be
trained; a cost does not depend on the weights.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import forecast_cells as cells
from benchmarks import record
from benchmarks.trial import RESULTS, usual
from domains.turbulence.diagnostics import correlation
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import Grid, resample
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.simulate import simulate

COMMAND = f"OMP_NUM_THREADS=1 MINUTES={cells.MINUTES:g} python -m benchmarks.turbulence_cost"
SIZES = usual((32, 64, 128, 256), trial=(32, 64))
FINE, FRAMES = usual(256, trial=64), usual((1, 5, 10), trial=(1, 2))  # points along an axis, of the picture; its frames
SECONDS = usual(5.0, trial=0.05)  # of every measurement
# Points along an axis and steps of solvers.
WAYS = usual(
    ((64, 0.0125), (64, 0.02), (48, 0.02), (40, 0.025), (32, 0.02), (32, 0.04)), trial=((64, 0.02), (32, 0.02))
)
ONE = {"field": "1", "length": "1", "time": "1"}


def sized(n: int) -> NoiseForecaster:
    """An untrained head A on n x n points: all modes that a solver keeps there, half of them in the inner blocks."""
    description = FlowDescription("vorticity", "vorticity", ONE, 1.0, (n, n), (2 * math.pi, 2 * math.pi))
    modes = Grid((n, n)).modes
    config = NoiseForecasterConfig(modes=modes, inner=tuple(m // 2 for m in modes), waves=((4, 0),))
    return NoiseForecaster(config, description, FrameStatistics(0.0, 1.0, 0.8), torch.Generator().manual_seed(0))


def fastest(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one call: fastest and median of as many as fit."""
    work()
    found: list[float] = []
    while sum(found) < SECONDS or len(found) < 5:
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found), statistics.median(found)


def one_step(forecaster: Forecaster, fields: torch.Tensor) -> Callable[[], Any]:
    """One frame for each of some members ``(B, n, n)``."""
    generators = [np.random.default_rng(b) for b in range(len(fields))]
    return lambda: forecaster.advance(fields[:, None], generators)


def memory(n: int) -> float:
    """Bytes a cell that one step of one member takes at its peak, in this process (Linux)."""
    torch.set_num_threads(1)
    one_step(sized(16), torch.randn(1, 16, 16))()
    forecaster, fields = sized(n), torch.randn(1, n, n)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: importing torch took more than a small grid
    before = _kilobytes("VmRSS")
    one_step(forecaster, fields)()
    return 1024 * (_kilobytes("VmHWM") - before) / n**2


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def on_grids() -> list[dict[str, Any]]:
    """Time and memory of a step of one member on n x n points."""
    rows = []
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # in the processes to come, what is freed goes back at once
    for n in SIZES:
        least, median = fastest(one_step(sized(n), torch.randn(1, n, n)))
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            held = pool.submit(memory, n).result()
        row = {"grid": f"{n}^2", "milliseconds a step": 1e3 * least, "median": 1e3 * median}
        row |= {"microseconds a cell": 1e6 * least / n**2, "kilobytes a cell": held / 1e3}
        row["order in n since the last"] = math.log2(least / (rows[-1]["milliseconds a step"] / 1e3)) if rows else "-"
        rows.append(row)
    return rows


def starts_and_truth() -> tuple[torch.Tensor, torch.Tensor, float]:
    """Sixteen fields of the test, each a frame later by the solver with a short step, and the standard deviation."""
    _, test = cells.flow_data()
    frames = test.load()
    start = frames[:16, 10]
    exact = simulate(cells.FLOW, test.grid, start.double(), [1.0], step=0.005).fields[:, 0]
    return start, exact, float(frames.std())


def against_the_solver() -> list[dict[str, Any]]:
    """One frame of 64^2 by solvers and by head A, in time and in error against the solver with a short step."""
    start, exact, deviation = starts_and_truth()
    rows = []
    forecaster = NoiseForecaster.load(cells.place("A", 0))
    ways: list[tuple[str, Callable[[int], torch.Tensor]]] = [
        ("head A, mean of 8 members", lambda batch: _forecast(forecaster, start[:batch])),
    ]
    for n, step in WAYS:
        ways.append(
            (f"solver, {n}^2 points, step {step}", lambda batch, n=n, step=step: _solved(start[:batch], n, step))
        )  # type: ignore[misc]
    for name, way in ways:
        try:
            error = float((way(16).double() - exact).square().mean().sqrt()) / deviation
        except FloatingPointError:
            continue  # the step is too long
        row: dict[str, Any] = {"way": name, "error after a frame (standard deviations)": error}
        for batch in (1, 16):
            work = one_step(forecaster, start[:batch]) if name.startswith("head") else (lambda w=way, b=batch: w(b))  # type: ignore[misc]
            row[f"milliseconds a frame, {batch} together"] = 1e3 * fastest(work)[0] / batch
        rows.append(row)
    return rows


def _solved(start: torch.Tensor, n: int, step: float) -> torch.Tensor:
    coarse = resample(start, (n, n))
    found = simulate(cells.FLOW, Grid((n, n)), coarse, [1.0], step=step).fields[:, 0]
    return resample(found, (64, 64))


def _forecast(forecaster: NoiseForecaster, start: torch.Tensor) -> torch.Tensor:
    return next(forecaster.rollout(start[:, None], 8)).mean(1)


def draw_fine(forecaster: NoiseForecaster, n: int = FINE, leads: tuple[int, ...] = FRAMES) -> Any:
    """The truth on n x n points and two members of a forecast that runs there, although it learned on 64 x 64."""
    import matplotlib.pyplot as plt

    _, test = cells.flow_data()
    start = resample(test.load([0])[:, 10], (n, n))
    truth = simulate(cells.FLOW, Grid((n, n)), start, leads, step=0.004).fields[0]
    members = []
    frames = forecaster.rollout(start[:, None], 2)
    for lead in range(1, max(leads) + 1):
        fields = next(frames)[0]
        if lead in leads:
            members.append(fields)
    figure, axes = plt.subplots(3, len(leads), figsize=(3.2 * len(leads), 9.6), layout="constrained")
    top = float(truth.abs().quantile(0.995)) if n < 200 else float(truth[:, ::4, ::4].abs().quantile(0.995))
    for column, lead in enumerate(leads):
        shown = [("solved", truth[column]), ("member 1", members[column][0]), ("member 2", members[column][1])]
        for row, (name, field) in enumerate(shown):
            axes[row, column].imshow(field, cmap="RdBu_r", vmin=-top, vmax=top, origin="lower")
            alike = "" if row == 0 else f", correlation {float(correlation(field, truth[column])):.2f}"
            axes[row, column].set_title(f"{name}, frame {lead}{alike}", fontsize=9)
            axes[row, column].set(xticks=[], yticks=[])
    return figure


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    cells.prepare("A", 0)
    beside = against_the_solver()
    grids = on_grids()
    ours, solvers = beside[0], beside[1:]
    error, key = "error after a frame (standard deviations)", "milliseconds a frame, 1 together"
    # Comparable: the cheapest solver that is not worse, to a twentieth; any is better than nothing.
    equal = [row for row in solvers if row[error] <= 1.05 * ours[error]]
    cheapest = min(equal or solvers, key=lambda row: row[key])
    faster = cheapest[key] / ours[key]
    order = math.log(grids[-1]["milliseconds a step"] / grids[0]["milliseconds a step"]) / math.log(
        SIZES[len(grids) - 1] / SIZES[0]
    )
    growth = grids[-1]["kilobytes a cell"] / grids[1]["kilobytes a cell"]
    content: dict[str, Any] = {
        "claim": f"A step of a forecast takes {1 / faster:.2g} times the time of the cheapest solver that is as "
        f"accurate ({cheapest['way']}); on n x n points it grows as n^{order:.2f}, its memory for each cell by "
        f"{growth:.2f} from 64^2 on",
        "measured": grids,
        "target": "a step 20 times faster than the solver; time of order 3 in n or less; memory linear in cells",
        "holds": faster >= 20 and order <= 3 and growth <= 1.2,
        "baselines": beside,
        "command": COMMAND,
        "seeds": [0],
        "spread": "fastest of those that fit into some seconds, and the median over grids; float32, one core",
    }
    record.write("turbulence", "5", **content)
    draw_fine(NoiseForecaster.load(cells.place("A", 0))).savefig(RESULTS / "turbulence-5.png", dpi=80)


if __name__ == "__main__":
    main()
