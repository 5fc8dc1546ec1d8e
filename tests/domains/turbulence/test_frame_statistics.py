"""Statistics of frames against numpy, and forecasts that are held to the range of what was learned."""

import json

import numpy as np
import pytest
import torch

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow

FLOW = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))


def test_those_of_chosen_samples_alone():
    frames = np.random.default_rng(0).normal(2.0, 3.0, (4, 5, 8, 8)).astype(np.float32)
    found = FrameStatistics.of(read_flow(frames), [1, 3], mirrored=False)
    chosen = frames[[1, 3]].astype(np.float64)
    assert found.centre == pytest.approx(chosen.mean())
    assert found.scale == pytest.approx(chosen.std())
    assert found.increment == pytest.approx(np.sqrt((np.diff(chosen, axis=1) ** 2).mean()) / chosen.std())
    assert found.low == pytest.approx((chosen.min() - chosen.mean()) / chosen.std())
    assert found.high == pytest.approx((chosen.max() - chosen.mean()) / chosen.std())


def test_a_flow_with_a_mirror_has_no_mean_and_an_even_range():
    frames = np.random.default_rng(0).normal(2.0, 3.0, (2, 5, 8, 8))
    found = FrameStatistics.of(read_flow(frames), [0, 1], mirrored=True)
    assert found.centre == 0
    assert found.high == -found.low == pytest.approx(abs(frames).max() / np.sqrt((frames**2).mean()))


def test_values_inside_are_not_touched_and_order_is_kept():
    statistics = FrameStatistics(0.0, 1.0, 1.0, -3.0, 4.0)
    values = torch.linspace(-3.0, 4.0, 101)
    assert torch.equal(statistics.bounded(values), values)
    wide = torch.linspace(-12.0, 12.0, 2001, dtype=torch.float64)
    held = statistics.bounded(wide)
    assert bool((held.diff() > 0).all())
    assert float(held.min()) > -3.7
    assert float(held.max()) < 4.7
    assert float(held.diff().max()) <= 12 / 1000 + 1e-12  # a slope of one at most, so it has no corner upwards


def test_without_a_range_nothing_is_held():
    values = torch.tensor([-1e9, 1e9])
    assert torch.equal(FrameStatistics(0.0, 1.0, 1.0).bounded(values), values)


@pytest.mark.parametrize("bad", [{"scale": 0.0}, {"increment": float("nan")}, {"low": 1.0, "high": 1.0}])
def test_what_cannot_be_is_refused(bad):
    with pytest.raises(ValueError):
        FrameStatistics(**{"centre": 0.0, "scale": 1.0, "increment": 1.0, **bad})


def test_settings_come_back_through_json():
    for statistics in (FrameStatistics(0.1, 2.0, 0.3), FrameStatistics(0.1, 2.0, 0.3, -1.5, 7.25)):
        assert FrameStatistics.from_settings(json.loads(json.dumps(statistics.to_settings()))) == statistics


def test_a_forecast_that_would_blow_up_stays_within_a_tenth_of_the_range(tmp_path):
    statistics = FrameStatistics(1.0, 2.0, 0.5, -4.0, 4.0)
    forecaster = NoiseForecaster(NoiseForecasterConfig(modes=(5, 5), waves=()), FLOW, statistics)
    with torch.no_grad():
        for parameter in forecaster.network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    forecaster.save(tmp_path)
    start = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    for used in (forecaster, NoiseForecaster.load(tmp_path)):
        found = used.forecast(start, members=2, steps=30).w.values
        assert abs((found - 1.0) / 2.0).max() <= 4.8 + 1e-5
        assert abs((found - 1.0) / 2.0).max() > 4.0  # it would have left the range


@pytest.mark.parametrize("wrong", [[1.0], "1", True, None])
@pytest.mark.parametrize("name", ["centre", "scale", "high"])
def test_what_is_no_number_is_refused_by_name(name, wrong):
    with pytest.raises(ValueError, match=name):
        FrameStatistics(**{"centre": 0.0, "scale": 1.0, "increment": 1.0, name: wrong})
