"""An ensemble of forecasts of a flow that the forecaster has not seen: scores, maps, a moving picture.

The forecaster is the one in ``trained/kolmogorov_flow``, which was trained on flows from other starts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from domains.turbulence.animation import animate_forecast
from domains.turbulence.evaluate import EvaluateConfig, evaluate
from domains.turbulence.evaluation_pictures import draw_maps
from domains.turbulence.noise_forecaster import NoiseForecaster
from domains.turbulence.readers import read_flow
from domains.turbulence.training_data import split

TRAINED = Path(__file__).parent / "trained" / "kolmogorov_flow"
SAMPLE = Path(__file__).parents[2] / "datasets" / "kolmogorov_flow" / "sample.h5"
MEMBERS = 8
_HELD_OUT = 0.25  # of the sample's eight trajectories


def demonstration(film: Path, starts: int = 8) -> tuple[list[dict[str, Any]], dict[str, float], Any]:
    """Forecast trajectories of the sample that were held out.

    Args:
        film: the .gif file that gets the moving picture.
        starts: forecasts of each trajectory that are scored.

    Returns:
        Scores by lead; numbers by name; and a matplotlib Figure of one forecast.
    """
    data = read_flow(SAMPLE)
    unseen = split(data, _HELD_OUT)[1]
    forecaster = NoiseForecaster.load(TRAINED)
    config = EvaluateConfig(members=MEMBERS, leads=10, starts=starts, steps=0)
    found = evaluate(forecaster, data, unseen, config, progress=False)
    frames = np.asarray(data.fields.read(unseen[0], 0, forecaster.history + 20), dtype=np.float32)
    past, truth = frames[: forecaster.history], frames[forecaster.history :]
    started = time.perf_counter()
    members = forecaster.forecast(past, MEMBERS, steps=len(truth))[forecaster.description.variable].values
    numbers = {
        "parameters": float(forecaster.n_parameters),
        "milliseconds a member and step": 1e3 * (time.perf_counter() - started) / (len(members) * len(truth)),
        "members": float(len(members)),
        "members scored": float(found.scores["forecast"].members),
    }
    animate_forecast(np.concatenate([past[-1:], truth]), members, forecaster.description, film)
    rows = [
        {key: row[key] for key in ("lead", "CRPS", "spread/skill", "CRPS of persistence", "CRPS of climate")}
        for row in found.rows()
    ]
    return rows, numbers, draw_maps(truth, members, (1, 2, 5, 10), forecaster.description)
