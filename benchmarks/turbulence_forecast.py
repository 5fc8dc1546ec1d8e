"""Forecasts of Kolmogorov flow: ours beside Fourier neural operators, a U-Net, drawn residuals, solver and climate.

Records 1 to 4 of the area turbulence, from the cells of `forecast_cells`. Usage::

    python -m benchmarks.turbulence_forecast                 every cell that is missing, then the records
    python -m benchmarks.turbulence_forecast list            cells, and what is missing
    python -m benchmarks.turbulence_forecast cell A 0        one cell: tuned, trained, scored
    python -m benchmarks.turbulence_forecast tune FNO 2      one setting of a baseline
    python -m benchmarks.turbulence_forecast weigh A 0       its runs of 500 steps
    python -m benchmarks.turbulence_forecast endure A 0      runs of 2,000 steps of a head
    python -m benchmarks.turbulence_forecast record          the records of the cells that are there

Environment: MINUTES of the processor for each model (20), PROCESSES (1) that work at cells side by side, of one thread
each; TRIAL=1 tries the whole study with a few steps (`benchmarks.trial`).
"""

import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from benchmarks import forecast_cells as cells
from benchmarks.forecast_climate import ENDURING, TOGETHER, WEIGHED, endured, weighed
from benchmarks.kept import kept
from benchmarks.trial import usual
from domains.turbulence.scores import score_forecasts

COMMAND = "OMP_NUM_THREADS=1 MINUTES={minutes:g} python -m benchmarks.turbulence_forecast"
MEMBERS = usual(8, trial=3)  # of the scores
MANY = usual(24, trial=4)  # of the coverage of 90 %, which 8 members do not bound
CALIBRATED = 20  # leads
FAILED = "FAILED"  # begins what is told of a cell
KEPT_SCORES = ("crps", "energy", "variogram", "variance", "error", "coverage")


def scored(name: str, seed: int) -> dict[str, Any]:
    """Scores of a cell on the test trajectories, trained first if need be; kept."""
    return kept(cells.place(name, seed) / "scores.json", lambda: _score(name, seed))


def _score(name: str, seed: int) -> dict[str, Any]:
    forecaster, ensemble = cells.forecaster_of(name, seed)
    learn, test = cells.flow_data()
    past, future, trajectories = cells.starts(test, forecaster.history)
    scale = float(learn.load(range(0, len(learn), 4)).std())
    common: dict[str, Any] = {
        "trajectories": trajectories,
        "seed": seed,
        "progress": True,
        "members": MEMBERS if ensemble else 1,
        "together": TOGETHER,
    }
    found = score_forecasts(forecaster, past, future, scale, **common)
    content: dict[str, Any] = {key: found.by_trajectory(key).tolist() for key in KEPT_SCORES}
    base = getattr(forecaster, "forecaster", forecaster)  # that residuals are drawn for
    content |= {"members": found.members, "parameters": getattr(base, "n_parameters", 0)}
    content["ranks"] = found.ranks.sum(0).tolist()
    if ensemble:
        half = slice(len(past) // 2)  # one start of each trajectory
        common |= {"members": MANY, "trajectories": trajectories[half], "proper": False}
        many = score_forecasts(forecaster, past[half], future[half, :CALIBRATED], scale, **common)
        content["many"] = {key: many.by_trajectory(key).tolist() for key in ("variance", "error", "coverage")}
    return content


def all_cells() -> list[tuple[str, int]]:
    """Every cell; what others are built on comes first."""
    return [(name, seed) for name in cells.NAMES for seed in cells.seeds_of(name)]


def there(name: str, seed: int) -> bool:
    """Whether a cell is scored."""
    return (cells.place(name, seed) / "scores.json").exists()


def work() -> list[str]:
    """Every missing cell: settings first, then seed after seed; PROCESSES at a time, none waiting for the longest.

    Returns:
        What failed.
    """
    cells.flow_data()
    failed: list[str] = []

    def tell(job: tuple[str, str, int], outcome: str) -> None:
        told = "{} {} {}: {}".format(*job, outcome)
        print(told, flush=True)
        if outcome.startswith(FAILED):
            failed.append(told)

    processes = int(os.environ.get("PROCESSES", "1"))
    settings = {name: range(len(found)) for name, found in cells.SETTINGS.items() if len(found) > 1}
    tried = [("tune", name, number) for name, numbers in settings.items() for number in numbers]
    last = cells.HELD_DRAWS  # a control, which no bar looks at
    first = sorted({*cells.NAMES} - {last}, key=lambda name: (name not in ("core", "B"), cells.NAMES.index(name)))
    left: list[tuple[str, str, int]] = []  # to score head B takes longest, so it comes first
    for seed in cells.SEEDS:
        left += [("cell", name, seed) for name in first if seed in cells.seeds_of(name)]
        left += [("weigh", name, seed) for name in first if name in WEIGHED]
        left += [("endure", name, seed) for name in ENDURING if seed == cells.SEEDS[0]]
    left += [(verb, last, seed) for verb in ("cell", "weigh") for seed in cells.seeds_of(last)]
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for job, outcome in zip(tried, pool.map(_job, tried), strict=True):
            tell(job, outcome)
        running: dict[Future[str], tuple[str, str, int]] = {}
        while left or running:
            begun = left + list(running.values())
            ready = [job for job in left if needed_by(job) not in begun]
            for job in ready[: processes - len(running)]:
                left.remove(job)
                running[pool.submit(_job, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                tell(running.pop(future), future.result())
    return failed


def needed_by(job: tuple[str, str, int]) -> tuple[str, str | None, int]:
    """The cell that must be there before a job."""
    verb, name, seed = job
    return "cell", cells.NEEDS.get(name) if verb == "cell" else name, seed


def _job(job: tuple[str, str, int]) -> str:
    verb, name, number = job
    try:
        if verb == "tune":
            setting = cells.SETTINGS[name][number]
            folder = cells.place(name, f"setting_{number}")
            return f"CRPS {cells.trained(name, setting, 0, cells.TUNING * cells.MINUTES, folder)['crps_1']:.4f}"
        if verb == "endure":
            return f"lost {endured(name)['lost']}"
        if verb == "weigh":
            return f"spectrum {weighed(name, number)['spectrum error']:.4f} decades off"
        return f"CRPS {np.mean(scored(name, number)['crps'], 0)[0]:.4f}"
    except (FloatingPointError, ImportError, ValueError) as problem:  # one cell that fails must not stop the others
        return f"{FAILED}: {problem}"


def main(arguments: list[str]) -> None:
    """Do what is asked for."""
    torch.set_num_threads(1)
    verb = arguments[0] if arguments else "all"
    if verb == "list":
        for name, seed in all_cells():
            print(f"{name} {seed}: {'scored' if there(name, seed) else 'missing'}")
    elif verb in ("cell", "tune", "weigh", "endure"):
        print(_job((verb, " ".join(arguments[1:-1]), int(arguments[-1]))))
    elif verb in ("all", "record"):
        failed = work() if verb == "all" else []
        from benchmarks.forecast_records import write_records

        write_records(COMMAND.format(minutes=cells.MINUTES))
        if failed:
            raise SystemExit("; ".join(failed))
    else:
        raise SystemExit(f"expected all, list, cell, tune or record, got {verb!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
