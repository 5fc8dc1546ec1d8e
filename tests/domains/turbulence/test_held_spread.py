"""The loudness of noise: set by ensembles of a flow whose noise is known."""

import numpy as np
import pytest
import torch

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.held_spectrum import rings
from domains.turbulence.held_spread import gains, hold_spread
from domains.turbulence.modes import to_modes, to_points
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow

MODES, GRID = (4, 4), (12, 12)
RING = rings(MODES, (1.0, 1.0))
LOUD = torch.tensor([0.5, 1.5, 0.8, 1.2, 0.7, 1.0, 0.6])[RING]  # of the flow's noise
DESCRIBED = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, GRID, (1.0, 1.0))


class Walk(NoiseForecaster):
    """Half of the last frame, and noise."""

    def step(self, past, noise):
        white = to_modes(noise.reshape(len(noise), *self.points), MODES)
        mean = 0.5 * past[:, -1]
        return mean.repeat(len(noise) // len(past), 1, 1) + self.network.late_gains * white


def flow():
    """Trajectories of the same map with noise of another loudness."""
    generator = torch.Generator().manual_seed(0)
    frames = [torch.zeros(24, *GRID)]
    for _ in range(24):
        white = to_modes(torch.randn(24, 9, 9, generator=generator), MODES)
        frames.append(to_points(0.5 * to_modes(frames[-1], MODES) + LOUD * white, GRID))
    return read_flow(torch.stack(frames, 1)[:, 4:].numpy())


def test_noise_becomes_as_loud_as_that_of_the_flow():
    config = NoiseForecasterConfig(modes=MODES, inner=MODES, noise_fields=1)
    forecaster = Walk(config, DESCRIBED, FrameStatistics(0.0, 1.0, 0.5))
    hold_spread(forecaster, flow().windows(1, 4), 60, progress=False)
    ratio = (forecaster.network.late_gains / LOUD).numpy()
    # Ring 0 is one mode and ring 6 four: 60 windows of 4 leads know their loudness to some percent.
    np.testing.assert_allclose(ratio, 1.0, atol=0.12)
    np.testing.assert_allclose(ratio[(RING > 0) & (RING < 6)], 1.0, atol=0.05)


def test_a_ring_counts_at_the_leads_at_which_it_matters():
    error = torch.tensor([[1.0, 9.0], [6.0, 4.0]])
    variance = error * torch.tensor([[4.0, 4.0], [1.0, 0.25]])
    shares = np.array([[0.1, 0.9], [0.6, 0.4]])
    logs = np.log([[0.25, 0.25], [1.0, 4.0]]) / 2
    expected = np.exp((shares * logs).sum(0) / shares.sum(0))
    np.testing.assert_allclose(gains(variance, error), expected, rtol=1e-6)


def test_rings_of_which_nothing_is_known_are_left_alone():
    error = torch.tensor([[1.0, 0.0, -0.1, 1.0]])
    variance = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(gains(variance, error), [1.0, 1.0, 1.0, 2.0])


def test_gains_that_do_not_fit_are_refused():
    forecaster = Walk(NoiseForecasterConfig(modes=MODES, noise_fields=1), DESCRIBED, FrameStatistics(0.0, 1.0, 0.5))
    for wrong in (torch.ones(5, 4), torch.zeros(5, 9), torch.full((5, 9), float("nan"))):
        with pytest.raises(ValueError, match="gains"):
            forecaster.resize(wrong)
    without = NoiseForecaster(
        NoiseForecasterConfig(modes=MODES, noise_fields=0), DESCRIBED, FrameStatistics(0.0, 1.0, 0.5)
    )
    with pytest.raises(ValueError, match="noise fields"):
        without.resize(torch.ones(5, 9))
