"""What the forecasters of `forecast_cells` are like when they are left alone, for 500 steps and for 2,000."""

from typing import Any

import torch
from torch import Tensor

from benchmarks import forecast_cells as cells
from benchmarks.kept import kept
from benchmarks.trial import usual
from domains.turbulence.scores import LongRun, compared, long_run

RUN = usual(500, trial=2)  # steps of a long run
LONG, RUNS = usual(2000, trial=2), usual(100, trial=4)  # steps of the runs of which none may be lost, and their number
SETTLED = RUN // 5  # steps after which a run has forgotten its start: spectra from here on are kept for each start
MEMBERS = 2  # from each start, of a forecaster whose members differ
TOGETHER = 256  # members advanced at once; to draw tokens from many costs little more than from few
ENDURING = ("A", "B")  # in runs of 2,000 steps
WEIGHED = ("A", "B", "core + residuals", cells.HELD_DRAWS, "FNO", "FNO + residuals", "noisy FNO", "U-Net")


def weighed(name: str, seed: int) -> dict[str, Any]:
    """A cell after 500 steps on its own, from one start of each test trajectory; kept."""
    return kept(cells.place(name, seed) / "climate.json", lambda: _weigh(name, seed))


def _weigh(name: str, seed: int) -> dict[str, Any]:
    forecaster, ensemble = cells.forecaster_of(name, seed)
    past, _, _ = cells.starts(cells.flow_data()[1], forecaster.history)
    first, members = past[: len(past) // 2], MEMBERS if ensemble else 1
    run = long_run(forecaster, first, frames_of_the_flow(), RUN, members=members, together=TOGETHER, progress=True)
    settled = run.spectra[len(run.spectra) * SETTLED // RUN :]
    by_start = settled.unflatten(1, (len(first), members)).nanmean((0, 2))
    return told_of(run) | {"runs": members * len(first), "spectra": by_start.tolist()}


def endured(name: str) -> dict[str, Any]:
    """How many of 100 runs of 2,000 steps are lost; kept."""
    return kept(cells.place(name, 0) / "endured.json", lambda: _endure(name))


def _endure(name: str) -> dict[str, Any]:
    forecaster, _ = cells.forecaster_of(name, 0)
    past, _, _ = cells.starts(cells.flow_data()[1], forecaster.history)
    chosen = past[torch.arange(RUNS) % len(past)]
    return {
        "lost": long_run(forecaster, chosen, frames_of_the_flow(), LONG, seed=1, together=TOGETHER, progress=True).lost
    }


def frames_of_the_flow() -> Tensor:
    """Every fourth frame of all trajectories."""
    return torch.cat([data.load()[:, ::4].flatten(0, 1) for data in cells.flow_data()])


def climate_of_the_test() -> dict[str, Any]:
    """The same measures of the test frames alone: what sampling does to them."""
    test = cells.flow_data()[1]
    return told_of(compared(test.load()[:, ::10].flatten(0, 1), frames_of_the_flow(), test.grid.lengths))


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
