"""A small forecaster, and the flow that it goes on from."""

import torch

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import resample
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig

FLOW = FlowDescription(
    "vorticity", "vorticity of the flow", {"field": "1/s", "length": "m", "time": "s"}, 0.5, (16, 12), (2.0, 3.0)
)
SMALL = NoiseForecasterConfig(
    history=2, channels=4, products=3, blocks=2, modes=(5, 3), waves=((4, 0),), noise_fields=1, noise_vector=3
)


def made(description=FLOW, config=SMALL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    forecaster = NoiseForecaster(config, description, FrameStatistics(0.2, 1.5, 0.4), generator)
    with torch.no_grad():  # an untrained one gives persistence
        forecaster.network.read += 0.2 * torch.randn(forecaster.network.read.shape, generator=generator)
    return forecaster


def past(samples=1, grid=(16, 12), seed=0, modes=(5, 3)):
    generator = torch.Generator().manual_seed(seed)
    smallest = torch.randn(samples, 2, *(2 * m + 1 for m in modes), generator=generator)
    return resample(smallest, grid)
