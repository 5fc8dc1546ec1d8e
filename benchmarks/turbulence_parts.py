"""What each part of head A is worth: the forecaster of `turbulence_forecast` with one part of it changed at a time.

Record 1b of the area turbulence. All learn from the same trajectories for half the minutes of a model there, and are
measured by the CRPS on the trajectories that are held out of the training; what is trained is kept, see
`forecast_cells`.

    OMP_NUM_THREADS=1 MINUTES=8 python -m benchmarks.turbulence_parts

Environment: MINUTES of the processor of a model of `turbulence_forecast`, of which each takes half here; PROCESSES (1)
side by side; TRIAL=1 for a trial (`benchmarks.trial`).
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from benchmarks import forecast_cells as cells
from benchmarks import record
from benchmarks.trial import usual
from domains.turbulence.noise_forecaster import NoiseForecasterConfig

COMMAND = f"OMP_NUM_THREADS=1 MINUTES={cells.MINUTES:g} python -m benchmarks.turbulence_parts"
OURS = "head A"

PARTS: dict[str, cells.Setting] = {
    OURS: {"model": NoiseForecasterConfig()},
    "all 12 blocks on all modes": {"model": NoiseForecasterConfig(fine=12)},
    "8 blocks, all on all modes": {"model": NoiseForecasterConfig(blocks=8, fine=8)},
    "18 blocks": {"model": NoiseForecasterConfig(blocks=18)},
    "24 channels, 16 products": {"model": NoiseForecasterConfig(channels=24, products=16)},
    "two members from the start": {"model": NoiseForecasterConfig(), "alone_until": 0.0},
    "score at points only": {"model": NoiseForecasterConfig(), "octave_weight": 0.0},
    "octaves weighed as points": {"model": NoiseForecasterConfig(), "octave_weight": 1.0},
    "noise before all blocks": {"model": NoiseForecasterConfig(noise_blocks=12)},
    "noise before the last block": {"model": NoiseForecasterConfig(noise_blocks=1)},
    "noise vector of 16 as well": {"model": NoiseForecasterConfig(noise_vector=16)},
    "one step ahead only": {"model": NoiseForecasterConfig(), "rollout_from": 1.0},
    "batches of 16": {"model": NoiseForecasterConfig(), "batch": 16},
    "four steps ahead at last": {"model": NoiseForecasterConfig(), "rollout": 4},
    "rate 0.006": {"model": NoiseForecasterConfig(), "rate": 6e-3},
    "rate 0.024": {"model": NoiseForecasterConfig(), "rate": 2.4e-2},
    "AdamW": {"model": NoiseForecasterConfig(), "optimiser": "adamw"},
    "AdamW, rate 0.006": {"model": NoiseForecasterConfig(), "optimiser": "adamw", "rate": 6e-3},
}
NAMES = list(PARTS)[:: usual(1, trial=3)]
SEEDS = cells.SEEDS[:2]


def trained(job: tuple[str, int]) -> dict[str, Any]:
    """Scores at the end of the training of one variant."""
    name, seed = job
    found = cells.trained(name, PARTS[name], seed, cells.MINUTES / 2, cells.place(f"parts/{name}", seed))
    print(f"{name} {seed}: CRPS {found['crps_1']:.4f}", flush=True)
    return found


def main() -> None:
    """Train what is missing, and write the record."""
    cells.flow_data()
    jobs = [(name, seed) for seed in SEEDS for name in NAMES]
    processes = int(os.environ.get("PROCESSES", "1"))
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = dict(zip(jobs, pool.map(trained, jobs), strict=True))
    rows = [row_of(name, [found[name, seed] for seed in SEEDS]) for name in NAMES]
    print(*rows, sep="\n")
    best = min(rows, key=lambda row: row["CRPS at lead 1"])
    record.write(
        "turbulence",
        "1b",
        claim="Each part of head A makes it better in the same time: inner blocks on half the modes, one member alone "
        "first, small batches, SOAP",
        measured=rows[:1],
        target="no variant has a lower CRPS at lead 1",
        holds=best["variant"] == OURS,
        baselines=rows[1:],
        command=COMMAND,
        seeds=list(SEEDS),
        spread=f"{cells.MINUTES / 2:g} minutes of one core each; CRPS on held-out trajectories in standard deviations, "
        "means over seeds, of which the column tells least and greatest",
    )


def row_of(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of a variant."""
    first = [one["crps_1"] for one in found]
    return {
        "variant": name,
        "parameters": found[0]["parameters"],
        "steps": int(np.mean([one["step"] for one in found])),
        "CRPS at lead 1": float(np.mean(first)),
        "least and greatest": f"{min(first):.4f} {max(first):.4f}",
        "at lead 5": float(np.mean([one["crps_5"] for one in found])),
    }


if __name__ == "__main__":
    main()
