"""Kuramoto-Sivashinsky from the solver to forecasts, by the forecasters that are compared on it."""

import numpy as np
import pytest
import torch

from domains.turbulence import training_data
from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.flows import KuramotoSivashinsky
from domains.turbulence.innovation_forecaster import InnovationConfig
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.train_innovations import DescentConfig, InnovationTrainConfig, train_innovations


@pytest.fixture(autouse=True)
def few_starts(monkeypatch):
    """Looks at the held-out samples, which are not what is tested, take most of the time."""
    monkeypatch.setattr(training_data, "_STARTS", 2)
    monkeypatch.setattr(training_data, "_MEMBERS", 2)
    monkeypatch.setattr(training_data, "_LEADS", 1)


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    config = FlowDataConfig(
        KuramotoSivashinsky(),
        size=(48,),
        lengths=(32.0,),
        trajectories=12,
        frames=30,
        spacing=1.0,
        spin_up=60.0,
        step=0.25,
    )
    return read_flow(generate_data(tmp_path_factory.mktemp("waves") / "data", config, progress=False))


@pytest.mark.parametrize(
    "model",
    [
        NoiseForecasterConfig(channels=8, products=6, blocks=2),
        DeterministicConfig(SeparableNetwork(channels=8, products=6, blocks=2)),
    ],
)
def test_forecasters_learn_waves(waves, model):
    config = TrainConfig(model, steps=240, batch=8, rate=1e-2, alone_until=0.3)
    forecaster = train(waves, config, progress=False)
    frames = waves.load(range(11, 12))[0]
    past, truth = frames[:-1, None], frames[1:]
    found = next(forecaster.rollout(past, 4, seed=0)).mean(1)
    error, persistence = ((f - truth).square().mean().sqrt() for f in (found, past[:, 0]))
    assert float(error) < 0.5 * float(persistence)
    data = forecaster.forecast(frames[:1], members=2, steps=3)
    assert data.velocity.dims == ("realization", "forecast_period", "x")
    moved = forecaster.forecast(frames[:1].roll(5, -1), members=1, steps=1, seed=0)
    if isinstance(model, DeterministicConfig):  # every shift is kept exactly
        np.testing.assert_allclose(np.roll(data.velocity[0, 0], 5), moved.velocity[0, 0], atol=1e-4)


def test_innovations_of_waves(waves):
    core = DeterministicConfig(SeparableNetwork(channels=2, products=2, blocks=1))
    found = train(waves, TrainConfig(core, steps=4, batch=2), progress=False)
    sizes = InnovationNetworkConfig(width=16, layers=1, heads=2, features=2, channels=2, products=2, blocks=1)
    config = InnovationTrainConfig(
        InnovationConfig(sizes, levels=2),
        DescentConfig(steps=3, batch=2),
        examples=20,
        spectrum_steps=3,
        spectrum_runs=2,
    )
    forecaster = train_innovations(found, waves, config, progress=False)
    assert [codec.grid for codec in forecaster.codecs] == [(16,), (32,)]
    members = next(forecaster.rollout(torch.randn(1, 1, 48), 3))
    assert members.shape == (1, 3, 48)
    assert bool(torch.isfinite(members).all())
