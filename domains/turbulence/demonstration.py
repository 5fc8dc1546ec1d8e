"""An ensemble of forecasts of a flow that the forecaster has not seen: scores, maps, a moving picture.

The forecaster is the one in ``trained/kolmogorov_flow``, which was trained on flows from other starts, or, where there
is none, a small one that is trained here for some seconds on six trajectories of the sample.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from domains.turbulence.animation import animate_forecast
from domains.turbulence.evaluate import EvaluateConfig, evaluate
from domains.turbulence.evaluation_pictures import draw_maps
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import FlowData, read_flow
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.training_data import split

TRAINED = Path(__file__).parent / "trained" / "kolmogorov_flow"
SAMPLE = Path(__file__).parents[2] / "datasets" / "kolmogorov_flow" / "sample.h5"
MEMBERS = 8
_HELD_OUT = 0.25  # of the sample's eight trajectories


def demonstration(film: Path, steps: int = 300) -> tuple[list[dict[str, Any]], dict[str, float], Any]:
    """Forecast trajectories of the sample that were held out.

    Args:
        film: the .gif file that gets the moving picture.
        steps: of the training, where no trained forecaster is there.

    Returns:
        Scores by lead; numbers by name; and a matplotlib Figure of one forecast.
    """
    data = read_flow(SAMPLE)
    unseen = split(data, _HELD_OUT)[1]
    forecaster, numbers = _forecaster(data, steps)
    found = evaluate(
        forecaster, data, unseen, EvaluateConfig(members=MEMBERS, leads=10, starts=8, steps=0), progress=False
    )
    frames = np.asarray(data.fields.read(unseen[0], 0, forecaster.history + 20), dtype=np.float32)
    past, truth = frames[: forecaster.history], frames[forecaster.history :]
    started = time.perf_counter()
    members = forecaster.forecast(past, MEMBERS, steps=len(truth))[forecaster.description.variable].values
    numbers["milliseconds a member and step"] = 1e3 * (time.perf_counter() - started) / (len(members) * len(truth))
    numbers |= {"members": float(len(members)), "members scored": float(found.scores["forecast"].members)}
    animate_forecast(np.concatenate([past[-1:], truth]), members, forecaster.description, film)
    rows = [
        {key: row[key] for key in ("lead", "CRPS", "spread/skill", "CRPS of persistence", "CRPS of climate")}
        for row in found.rows()
    ]
    return rows, numbers, draw_maps(truth, members, (1, 2, 5, 10), forecaster.description)


def _forecaster(data: FlowData, steps: int) -> tuple[Forecaster, dict[str, float]]:
    """The trained forecaster, or one trained now."""
    if (TRAINED / "forecaster.json").exists():
        shipped = NoiseForecaster.load(TRAINED)
        return shipped, {"parameters": float(shipped.n_parameters), "seconds to train here": 0.0}
    small = NoiseForecasterConfig(channels=12, products=8, blocks=4)
    started = time.perf_counter()
    made = train(data, TrainConfig(small, steps=steps, batch=8, held_out=_HELD_OUT), progress=False)
    seconds = time.perf_counter() - started
    return made, {"parameters": float(made.n_parameters), "seconds to train here": seconds}
