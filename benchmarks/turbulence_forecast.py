"""Forecasts of Kolmogorov flow: ours beside Fourier neural operators, a U-Net, drawn residuals, solver and climate.

Records 1 to 4 of the area turbulence, from the cells of `forecast_cells`. Usage::

    python -m benchmarks.turbulence_forecast                 every cell that is missing, then the records
    python -m benchmarks.turbulence_forecast list            cells, and what is missing
    python -m benchmarks.turbulence_forecast cell A 0        one cell: tuned, trained, scored
    python -m benchmarks.turbulence_forecast tune FNO 2      one setting of a baseline
    python -m benchmarks.turbulence_forecast endure A 0      runs of 2,000 steps of a head
    python -m benchmarks.turbulence_forecast record          the records of the cells that are there

Environment: MINUTES of the processor for each model (20), PROCESSES (1) that work at cells side by side, of one thread
each; TRIAL=1 tries the whole study with a few steps, and writes no record.
"""

import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import forecast_cells as cells
from benchmarks.kept import kept
from domains.turbulence.scores import LongRun, compared, long_run, score_forecasts

COMMAND = "OMP_NUM_THREADS=1 MINUTES={minutes:g} python -m benchmarks.turbulence_forecast"
MEMBERS, MANY = 8, 24  # of the scores; of the coverage of 90 %, which 8 members do not bound
CALIBRATED = 20  # leads
RUN, LONG, RUNS = 500, 2000, 100  # steps of a long run; of the runs of which none may be lost, and their number
TOGETHER = 256  # members advanced at once; to draw tokens from many costs little more than from few
KEPT_SCORES = ("crps", "energy", "variogram", "variance", "error", "coverage")
ENDURING = ("A", "B")  # in runs of 2,000 steps
# In long runs:
WEIGHED = ("A", "B", "core + residuals", cells.HELD_DRAWS, "FNO", "FNO + residuals", "noisy FNO", "U-Net")


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
        common |= {"members": 4 if cells.trial() else MANY, "trajectories": trajectories[half], "proper": False}
        many = score_forecasts(forecaster, past[half], future[half, :CALIBRATED], scale, **common)
        content["many"] = {key: many.by_trajectory(key).tolist() for key in ("variance", "error", "coverage")}
    if name in WEIGHED:
        runs = MEMBERS // 4 if ensemble else 1
        reference = frames_of_the_flow()
        first = past[: len(past) // 2]  # one start of each trajectory
        climate = long_run(forecaster, first, reference, 20 if cells.trial() else RUN, members=runs, together=TOGETHER)
        content["climate"] = told_of(climate) | {"runs": runs * len(first)}
        # The same measures of the test frames alone: what sampling does to them.
        own = test.load()[:, ::10].flatten(0, 1)
        content["climate of the test"] = told_of(compared(own, reference, forecaster.description.lengths))
    return content


def frames_of_the_flow() -> Tensor:
    """Every fourth frame of all trajectories."""
    return torch.cat([data.load()[:, ::4].flatten(0, 1) for data in cells.flow_data()])


def endured(name: str) -> dict[str, Any]:
    """How many of 100 runs of 2,000 steps are lost; kept."""
    return kept(cells.place(name, 0) / "endured.json", lambda: _endure(name))


def _endure(name: str) -> dict[str, Any]:
    forecaster, _ = cells.forecaster_of(name, 0)
    past, _, _ = cells.starts(cells.flow_data()[1], forecaster.history)
    runs, steps = (4, 20) if cells.trial() else (RUNS, LONG)
    chosen = past[torch.arange(runs) % len(past)]
    return {
        "lost": long_run(forecaster, chosen, frames_of_the_flow(), steps, seed=1, together=TOGETHER, progress=True).lost
    }


def told_of(run: LongRun) -> dict[str, Any]:
    """A long run in plain numbers."""
    return {
        "spectrum error": run.spectrum_error,
        "by band": run.by_band(),
        "energy": run.energy,
        "enstrophy": run.enstrophy,
        "distribution": run.distribution,
        "lost": run.lost,
        "wave numbers": run.wave_numbers.tolist(),
        "spectrum": run.spectrum.tolist(),
        "truth": run.truth_spectrum.tolist(),
        "enstrophy by step": run.by_step[::10].tolist(),
    }


def all_cells() -> list[tuple[str, int]]:
    """Every cell; what others are built on comes first."""
    return [(name, seed) for name in cells.NAMES for seed in cells.seeds_of(name)]


def there(name: str, seed: int) -> bool:
    """Whether a cell is scored."""
    return (cells.place(name, seed) / "scores.json").exists()


def work() -> None:
    """Every missing cell: settings first, then seed after seed; PROCESSES at a time, none waiting for the longest."""
    cells.flow_data()
    processes = int(os.environ.get("PROCESSES", "1"))
    settings = {name: range(len(found)) for name, found in cells.SETTINGS.items() if len(found) > 1}
    tried = [("tune", name, number) for name, numbers in settings.items() for number in numbers]
    last = cells.HELD_DRAWS  # a control, which no bar looks at
    first = sorted({*cells.NAMES} - {last}, key=lambda name: (name not in ("core", "B"), cells.NAMES.index(name)))
    left: list[tuple[str, str, int]] = []  # to score head B takes longest, so it comes first
    for seed in cells.SEEDS:
        left += [("cell", name, seed) for name in first if seed in cells.seeds_of(name)]
        left += [("endure", name, seed) for name in ENDURING if seed == cells.SEEDS[0]]
    left += [("cell", last, seed) for seed in cells.seeds_of(last)]
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for (_, name, number), outcome in zip(tried, pool.map(_job, tried), strict=True):
            print(f"tune {name} {number}: {outcome}", flush=True)
        running: dict[Future[str], tuple[str, str, int]] = {}
        while left or running:
            begun = left + list(running.values())
            ready = [job for job in left if needed_by(job) not in begun]
            for job in ready[: processes - len(running)]:
                left.remove(job)
                running[pool.submit(_job, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                print("{} {} {}:".format(*running.pop(future)), future.result(), flush=True)


def needed_by(job: tuple[str, str, int]) -> tuple[str, str | None, int]:
    """The cell that must be there before a job."""
    verb, name, seed = job
    return "cell", name if verb == "endure" else cells.NEEDS.get(name), seed


def _job(job: tuple[str, str, int]) -> str:
    verb, name, number = job
    try:
        if verb == "tune":
            setting = cells.SETTINGS[name][number]
            folder = cells.place(name, f"setting_{number}")
            return f"CRPS {cells.trained(name, setting, 0, cells.TUNING * cells.MINUTES, folder)['crps_1']:.4f}"
        if verb == "endure":
            return f"lost {endured(name)['lost']}"
        return f"CRPS {np.mean(scored(name, number)['crps'], 0)[0]:.4f}"
    except (FloatingPointError, ImportError, ValueError) as problem:  # one cell that fails must not stop the others
        return f"FAILED: {problem}"


def main(arguments: list[str]) -> None:
    """Do what is asked for."""
    torch.set_num_threads(1)
    verb = arguments[0] if arguments else "all"
    if verb == "list":
        for name, seed in all_cells():
            print(f"{name} {seed}: {'scored' if there(name, seed) else 'missing'}")
    elif verb in ("cell", "tune", "endure"):
        print(_job((verb, " ".join(arguments[1:-1]), int(arguments[-1]))))
    elif verb in ("all", "record"):
        if verb == "all":
            work()
        from benchmarks.forecast_records import write_records

        write_records(COMMAND.format(minutes=cells.MINUTES))
    else:
        raise SystemExit(f"expected all, list, cell, tune or record, got {verb!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
