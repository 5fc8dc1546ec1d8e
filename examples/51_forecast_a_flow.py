"""An ensemble forecast of two-dimensional turbulence: trained for seconds, scored, drawn.

Usage: python 51_forecast_a_flow.py [steps of training]

The data are 8 trajectories of Kolmogorov flow, 42 frames of 32 x 32 points one unit of time apart; six train the model.
A forecaster trained for so short a time is a poor one: `separable turbulence train` on a data set of
`separable turbulence generate` takes minutes and gives a good one.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.scores import score_forecasts
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.training_data import split

DATA = Path(__file__).parents[1] / "datasets" / "kolmogorov_flow" / "sample.h5"


def main(steps: str = "80") -> None:
    """Train, forecast, score, draw."""
    data = read_flow(DATA)
    config = TrainConfig(NoiseForecasterConfig(blocks=4), steps=int(steps), batch=4, rate=1e-2, held_out=0.25)
    forecaster = train(data, config)
    print(f"{forecaster.n_parameters} parameters, {steps} steps")

    # Eight members from one frame; each has its own noise, and the same seed gives the same members.
    unseen = data.load(split(data, config.held_out)[1])
    ensemble = forecaster.forecast(unseen[0, :1], members=8, steps=5, seed=0)
    print(ensemble)

    # Many starts, five frames ahead. The CRPS of one forecast without spread is its mean absolute error.
    starts = range(0, 36, 6)
    past = torch.cat([unseen[:, at : at + 1] for at in starts])
    future = torch.cat([unseen[:, at + 1 : at + 6] for at in starts])
    scale = float(unseen.std())
    ours = score_forecasts(forecaster, past, future, scale, members=8)
    still = score_forecasts(Persistence(forecaster.description), past, future, scale, members=1)
    for lead in (1, 2, 5):
        crps, error = float(ours.crps[:, lead - 1].mean()), float(still.crps[:, lead - 1].mean())
        print(f"lead {lead}: CRPS {crps:.3f} standard deviations, persistence {error:.3f}")
    print(f"spread over skill by lead: {[round(float(r), 2) for r in ours.spread_over_skill()]}, 1 is calibrated")

    draw(unseen[0, 1:6].numpy(), ensemble.vorticity.values)
    print("picture: forecast.png")


def draw(truth: np.ndarray, members: np.ndarray) -> None:
    """Write forecast.png: what came, two members and the spread at three leads."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
    for row, lead in zip(axes, (1, 2, 5), strict=True):
        fields = [truth[lead - 1], *members[:2, lead - 1], members[:, lead - 1].std(0, ddof=1)]
        for axis, name, field in zip(row, ("what came", "member 1", "member 2", "spread"), fields, strict=True):
            top = float(truth.std())
            limits = {"cmap": "magma", "vmin": 0, "vmax": top}
            if name != "spread":
                limits = {"cmap": "RdBu_r", "vmin": -3 * top, "vmax": 3 * top}
            axis.imshow(field, origin="lower", **limits)
            axis.set(xticks=[], yticks=[], title=f"{name}, lead {lead}")
    figure.savefig("forecast.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:2])
