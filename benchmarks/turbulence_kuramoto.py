"""The Kuramoto-Sivashinsky equation: for how long forecasts stay with the truth, ours and an FNO's of equal size.

Records 6 (some 30,000 numbers) and 6b (1,200) of the area turbulence: the time until the correlation with the truth
falls below 0.8, over starts of the test. What is compared is the separable operator trained in L2 with Fourier neural
operators trained in L2 of equal size, both tuned over the same number of settings. The small networks of both kinds may
apply their layers in several rounds.

Environment: MINUTES of the processor for each model (10); TRIAL=1 for a trial (`benchmarks.trial`).
"""

import dataclasses
import json
import os
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.forecast_study import Setting, Study, fourier, tried
from benchmarks.kept import kept, kept_path
from benchmarks.trial import STUDIES, usual
from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.diagnostics import correlation
from domains.turbulence.flows import KuramotoSivashinsky
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.readers import read_flow
from separable.distributions import BootstrapInterval, bootstrap_interval

MINUTES = float(os.environ.get("MINUTES", "10"))
COMMAND = f"OMP_NUM_THREADS=1 MINUTES={MINUTES:g} python -m benchmarks.turbulence_kuramoto"
FOLDER = STUDIES / "turbulence_kuramoto/full"
SEEDS = usual((0, 1, 2), trial=(0,))
LEARNED = FlowDataConfig(
    KuramotoSivashinsky(),
    size=(128,),
    lengths=(64.0,),
    trajectories=usual(256, trial=6),
    frames=usual(100, trial=12),
    spacing=2.0,
    spin_up=usual(200.0, trial=20.0),
    step=0.1,
    shard=64,
)
TESTED = dataclasses.replace(LEARNED, trajectories=usual(64, trial=4), seed=1)
LEADS, LEVEL = usual(80, trial=8), 0.8


ADAMW: Setting = {"optimiser": "adamw"}
SOAP: Setting = {"optimiser": "soap"}


def separable(channels: int, products: int, blocks: int, rate: float, rounds: int = 1, **more: Any) -> Setting:
    """A separable operator in L2, whose blocks all act on all modes."""
    network = SeparableNetwork(channels, products, blocks, rounds, fine=blocks)
    return {"model": DeterministicConfig(network), "rate": rate} | SOAP | more


SETTINGS = {
    "separable operator": [
        *(separable(24, 20, 4, rate) for rate in (6e-3, 1.2e-2)),
        *(separable(20, 16, 5, 1.2e-2), separable(16, 12, 7, 1.2e-2), separable(34, 34, 2, 1.2e-2, rounds=2)),
        *(separable(24, 20, 4, rate, **ADAMW) for rate in (6e-3, 1.2e-2)),
    ],
    "FNO": [
        *(fourier(12, 26, rate) for rate in (6e-3, 1.2e-2, 2.4e-2)),
        *(fourier(11, 31, 1.2e-2), fourier(16, 14, 1.2e-2)),
        *(fourier(12, 26, rate, **SOAP) for rate in (6e-3, 1.2e-2)),
    ],
    "small separable operator": [
        *(separable(8, 4, 1, rate, rounds=6) for rate in (6e-3, 1.2e-2, 2.4e-2)),
        *(separable(8, 4, 1, 1.2e-2, rounds=rounds) for rounds in (4, 8)),
        *(separable(8, 4, 1, rate, rounds=6, **ADAMW) for rate in (6e-3, 1.2e-2)),
    ],
    "small FNO": [
        *(fourier(3, 16, rate) for rate in (6e-3, 1.2e-2)),
        *(fourier(6, 14, rate, layers=1, rounds=4) for rate in (6e-3, 1.2e-2)),
        fourier(5, 22, 1.2e-2, layers=1, rounds=4),
        *(fourier(6, 14, rate, layers=1, rounds=4, **SOAP) for rate in (6e-3, 1.2e-2)),
    ],
}
COMMON = {"batch": 16, "rollout": 2, "rollout_from": 0.9} | usual({}, trial={"steps": 4})


def time_of_correlation(by_lead: torch.Tensor, spacing: float) -> float:
    """Time at which the mean correlation ``(S, L)`` over starts crosses the level, between leads by a line.

    Example:
        >>> time_of_correlation(torch.tensor([[0.95, 0.85, 0.75]]), 2.0)
        5.0
    """
    values = [1.0, *by_lead.double().mean(0).tolist()]
    for lead in range(1, len(values)):
        if values[lead] < LEVEL:
            part = (values[lead - 1] - LEVEL) / (values[lead - 1] - values[lead])
            return round(spacing * (lead - 1 + part), 6)
    return spacing * (len(values) - 1)


def measured(forecaster: Forecaster, past: torch.Tensor, future: torch.Tensor) -> dict[str, Any]:
    """The time, and the correlation by lead."""
    leads = forecaster.rollout(past, 1, together=512)
    by_lead = torch.stack([correlation(next(leads)[:, 0], truth, 1) for truth in future.unbind(1)], 1)
    return {
        "time": time_of_correlation(by_lead, LEARNED.spacing),
        "by start": by_lead.tolist(),
        "parameters": getattr(forecaster, "n_parameters", 0),
    }


def mean_time(correlations: torch.Tensor) -> torch.Tensor:
    """Time of the mean over starts, of correlations ``(S, seeds, L)``, mean over seeds."""
    times = [time_of_correlation(one, LEARNED.spacing) for one in correlations.unbind(1)]
    return torch.tensor(times, dtype=torch.float64).mean()


def told(interval: BootstrapInterval, digits: int) -> str:
    """The ends of an interval."""
    return f"{float(interval.low):.{digits}f} to {float(interval.high):.{digits}f}"


def main() -> None:
    """Train, measure, record."""
    torch.set_num_threads(1)
    learn = read_flow(generate_data(FOLDER / "learn", LEARNED, progress=False), scan=False)
    frames = read_flow(generate_data(FOLDER / "test", TESTED, progress=False), scan=False).load()
    past, future = frames[:, :1], frames[:, 1 : 1 + LEADS]
    study = Study(FOLDER, learn, tried(SETTINGS), MINUTES, COMMON)
    rows, correlations = {}, {}
    for name in SETTINGS:
        found = [
            kept(
                kept_path(FOLDER / "correlations", json.dumps([name, seed, MINUTES, LEADS])),
                lambda n=name, s=seed: measured(study.forecaster(n, s), past, future),  # type: ignore[misc]
            )
            for seed in SEEDS
        ]
        times = [cell["time"] for cell in found]
        correlations[name] = torch.tensor([cell["by start"] for cell in found], dtype=torch.float64).movedim(0, 1)
        rows[name] = {
            "model": name,
            "parameters": found[0]["parameters"],
            "time of correlation above 0.8": float(np.mean(times)),
            "of 95 %": told(bootstrap_interval(correlations[name], mean_time), 1),
            "seeds, least": min(times),
            "most": max(times),
        }
        print(rows[name], flush=True)
    for item, ours, theirs in (("6", "separable operator", "FNO"), ("6b", "small separable operator", "small FNO")):
        both = torch.stack([correlations[ours], correlations[theirs]], 1)
        ratio = bootstrap_interval(both, lambda drawn: mean_time(drawn[:, 0]) / mean_time(drawn[:, 1]))
        _write(item, ours, theirs, rows, told(ratio, 2), study)


def _write(item: str, ours: str, theirs: str, rows: dict[str, dict[str, Any]], ratio: str, study: Study) -> None:
    """The record of one size; the models of the other stand beside."""
    our, their = rows[ours], rows[theirs]
    time, other = (row["time of correlation above 0.8"] for row in (our, their))
    beside = [row for name, row in rows.items() if name not in (ours, theirs)]
    print(our, their, f"ratio {time / other:.2f}")
    record.write(
        "turbulence",
        item,
        claim=f"Kuramoto-Sivashinsky: the {ours} stays correlated above 0.8 for {time:.0f} units of time, "
        f"{time / other:.2f} ({ratio}) times as long as an FNO of equal size ({our['parameters']:,} and "
        f"{their['parameters']:,} parameters)",
        measured=[our, *study.rows_of_tried(ours)],
        target="at least 1.2 times the time of an FNO of equal size (or larger), same loss and minutes",
        holds=time >= 1.2 * other and our["parameters"] <= 1.1 * their["parameters"],
        baselines=[their, *study.rows_of_tried(theirs), *beside],
        command=COMMAND,
        seeds=SEEDS,
        spread=f"intervals of 95 % by bootstrap over {TESTED.trajectories} starts, one of each test trajectory; least "
        f"and most of {len(SEEDS)} seeds of the training",
    )


if __name__ == "__main__":
    main()
