"""Forecasts: the same from the same seed, in any batch, after saving, on other grids; told in CF's words."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray

from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import resample
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from separable.files import read_json
from tests.domains.turbulence.small_forecaster import FLOW, SMALL, made, past


class RandomWalk(Forecaster):
    """The last frame and a number drawn for each member."""

    def __init__(self):
        self.description, self.history = FLOW, 2

    def advance(self, frames, generators):
        return frames[:, -1] + torch.tensor([g.standard_normal() for g in generators]).float()[:, None, None]


def test_the_dataset_says_what_it_holds_in_cf_words(tmp_path):
    found = made().forecast(past()[0], members=3, steps=4, seed=7, reference_time=10.0)
    assert found.vorticity.dims == ("realization", "forecast_period", "y", "x")
    assert found.vorticity.shape == (3, 4, 16, 12)
    assert found.vorticity.dtype == np.float32
    assert found.vorticity.attrs == {"long_name": "vorticity of the flow", "units": "1/s"}
    assert found.forecast_period.values.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert found.forecast_period.attrs["standard_name"] == "forecast_period"
    assert found.forecast_period.attrs["units"] == found.time.attrs["units"] == "s"
    assert found.realization.attrs["standard_name"] == "realization"
    assert float(found.forecast_reference_time) == 10.0
    assert found.time.values.tolist() == [10.5, 11.0, 11.5, 12.0]
    np.testing.assert_allclose(found.y, np.arange(16) / 8)
    np.testing.assert_allclose(found.x, np.arange(12) / 4)
    assert (found.x.attrs["units"], found.x.attrs["axis"]) == ("m", "X")
    assert found.attrs["Conventions"] == "CF-1.11"
    assert found.attrs["seed"] == 7
    found.to_netcdf(tmp_path / "forecast.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "forecast.nc", decode_timedelta=False) as back:
        xarray.testing.assert_identical(back, found)


def test_units_that_are_no_time_do_not_get_the_standard_name():
    plain = dataclasses.replace(FLOW, units={"field": "unknown", "length": "1", "time": "1"})
    found = made(plain).forecast(past()[0], members=1, steps=1)
    assert "standard_name" not in found.forecast_period.attrs
    assert "units" not in found.vorticity.attrs
    assert found.x.attrs["units"] == "1"


def test_any_order_of_bytes_and_axes_backwards():
    forecaster, frames = made(), past(2).numpy()
    expected = forecaster.forecast(frames, members=2, steps=2)
    for same in (frames.astype(">f4"), frames[:, :, ::-1].copy()[:, :, ::-1]):
        xarray.testing.assert_identical(forecaster.forecast(same, members=2, steps=2), expected)
        np.testing.assert_array_equal(next(forecaster.rollout(same, 2)), expected.vorticity[:, :, 0])


def test_a_forecast_is_read_like_any_flow(tmp_path):
    made().forecast(past()[0], members=3, steps=4).to_netcdf(tmp_path / "forecast.nc", engine="h5netcdf")
    data = read_flow(tmp_path / "forecast.nc")
    assert data.fields.shape == (3, 4, 16, 12)
    FLOW.check(data)


def test_many_starts_get_a_dimension_of_their_own():
    starts = past(3)
    found = made().forecast(starts, members=2, steps=2)
    assert dict(found.sizes) == {"sample": 3, "realization": 2, "forecast_period": 2, "y": 16, "x": 12}
    alone = made().forecast(starts[0], members=2, steps=2)
    np.testing.assert_allclose(found.vorticity[0], alone.vorticity, atol=1e-5)


def test_seeds_reproduce_and_members_differ():
    forecaster, start = made(), past()[0]
    first = forecaster.forecast(start, members=4, steps=3, seed=1).vorticity.values
    assert np.array_equal(first, forecaster.forecast(start, members=4, steps=3, seed=1).vorticity.values)
    assert np.abs(first - forecaster.forecast(start, members=4, steps=3, seed=2).vorticity.values).max() > 0.02
    assert min(np.abs(first[0] - first[j]).max() for j in range(1, 4)) > 0.01


@pytest.mark.parametrize("together", [1, 3, 5])
def test_batches_and_the_number_of_members_change_no_member(together):
    forecaster, starts = made(), past(2)
    whole = forecaster.forecast(starts, members=4, steps=3).vorticity.values
    parts = forecaster.forecast(starts, members=4, steps=3, together=together).vorticity.values
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    fewer = forecaster.forecast(starts, members=2, steps=3).vorticity.values
    np.testing.assert_allclose(fewer, whole[:, :2], atol=1e-5)
    second = next(forecaster.rollout(starts[1:], 4, samples=[1]))
    np.testing.assert_allclose(second[0], whole[1, :, 0], atol=1e-5)


def test_frames_may_be_part_of_a_computation():
    start = past(2)[0].requires_grad_()
    for forecaster in (RandomWalk(), made(config=dataclasses.replace(SMALL, history=2))):
        given = start.expand(2, -1, -1)
        found = forecaster.forecast(given, members=2, steps=2)
        xarray.testing.assert_identical(found, forecaster.forecast(given.detach(), members=2, steps=2))


def test_any_forecaster_shares_the_interface():
    found = RandomWalk().forecast(past(1)[0].numpy(), members=50, steps=2)
    steps = found.vorticity.diff("forecast_period").isel(y=0, x=0).values
    np.testing.assert_allclose(steps, found.vorticity.diff("forecast_period").isel(y=3, x=5).values, atol=1e-5)
    expected = [g.standard_normal(2)[1] for g in (np.random.default_rng((0, 0, j)) for j in range(50))]
    np.testing.assert_allclose(steps[:, 0], expected, atol=1e-5)


def test_the_next_frame_is_the_last_and_the_increment_of_the_network():
    forecaster, start = made(), past(1)
    (noise,) = (np.random.default_rng((0, 0, 0)).standard_normal(forecaster.noise_numbers, dtype=np.float32),)
    vector, white = torch.from_numpy(noise[:3])[None], torch.from_numpy(noise[3:]).reshape(1, 1, 11, 7)
    y = torch.arange(16) / 16 * 2 * np.pi
    waves = 2**0.5 * torch.stack([torch.cos(4 * y), torch.sin(4 * y)])[None, :, :, None].expand(1, 2, 16, 12)
    frames = (start - 0.2) / 1.5
    inputs, late = torch.cat([frames, waves], 1), resample(white, (16, 12))
    expected = start[:, -1] + 1.5 * 0.4 * forecaster.network.on_points(inputs, vector, late)[:, 0]
    torch.testing.assert_close(next(forecaster.rollout(start, 1))[:, 0], expected.detach(), atol=1e-5, rtol=0)


def test_a_saved_forecaster_gives_the_same_bits(tmp_path):
    forecaster = made()
    forecaster.save(tmp_path)
    back = NoiseForecaster.load(tmp_path)
    assert (back.config, back.description) == (forecaster.config, forecaster.description)
    start = past()[0]
    one, other = (f.forecast(start, members=2, steps=3).vorticity.values for f in (forecaster, back))
    assert np.array_equal(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forecaster.json", "forecaster.safetensors"]
    settings = read_json(tmp_path / "forecaster.json", finite=False)
    (tmp_path / "forecaster.json").write_text(json.dumps(settings | {"kind": "Other"}))
    with pytest.raises(ValueError, match="Other"):
        NoiseForecaster.load(tmp_path)
    units = settings["description"]["units"]
    for wrong in (
        *({"units": units | {"time": unit}} for unit in (None, 1, {})),
        *({"origin": origin} for origin in ([0.0], ["0", "0"], 1.0)),
        {"calendar": 360},
    ):
        told = settings["description"] | wrong
        (tmp_path / "forecaster.json").write_text(json.dumps(settings | {"description": told}))
        with pytest.raises(ValueError, match=tmp_path.name):
            load_forecaster(tmp_path)
    changed = settings | {"config": settings["config"] | {"channels": 5}}
    (tmp_path / "forecaster.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="version"):
        NoiseForecaster.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        NoiseForecaster.load(tmp_path / "nothing")


@pytest.mark.parametrize("grid", [(11, 7), (32, 32), (48, 18)])
def test_the_same_forecast_on_another_grid(grid):
    forecaster = made()
    native = forecaster.forecast(past()[0], members=2, steps=5).vorticity.values
    other = forecaster.forecast(past(grid=grid)[0], members=2, steps=5).vorticity.values
    # Of fields of size 1 after five steps in float32; the operator itself is compared in double in test_model.
    np.testing.assert_allclose(other, resample(torch.from_numpy(native), grid).numpy(), atol=5e-5)


def test_symmetries_that_the_waves_leave():
    forecaster = made(config=dataclasses.replace(SMALL, noise_fields=0))
    start = past(1)

    def moved(shift):
        there = next(forecaster.rollout(start.roll(shift, (-2, -1)), 1))
        return float((there - next(forecaster.rollout(start, 1)).roll(shift, (-2, -1))).abs().max())

    assert moved((0, 5)) < 1e-5
    assert moved((4, 1)) < 1e-5  # a period of the force
    assert moved((1, 0)) > 1e-2


def test_one_dimension():
    line = FlowDescription("velocity", "velocity", {"field": "1", "length": "1", "time": "1"}, 1.0, (24,), (22.0,))
    forecaster = made(line, dataclasses.replace(SMALL, modes=(7,), waves=(), history=1))
    found = forecaster.forecast(torch.randn(1, 24), members=2, steps=3)
    assert dict(found.sizes) == {"realization": 2, "forecast_period": 3, "x": 24}


def test_modes_and_waves_follow_the_data():
    sample = read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)
    found = NoiseForecasterConfig().completed(sample)
    assert (found.modes, found.waves) == ((10, 10), ((4, 0),))
    given = dataclasses.replace(NoiseForecasterConfig(), modes=(6, 5), waves=()).completed(sample)
    assert (given.modes, given.waves) == ((6, 5), ())
    noise = read_flow(np.random.default_rng(0).normal(size=(1, 2, 16, 16)))
    assert NoiseForecasterConfig().completed(noise).modes == (7, 7)


def test_refusals():
    forecaster = made()
    for wrong in (torch.zeros(16, 12), torch.zeros(1, 16, 12), torch.zeros(2, 3, 16, 12)):
        with pytest.raises(ValueError, match="history"):
            forecaster.forecast(wrong, members=1, steps=1)
    with pytest.raises(ValueError, match="points"):
        forecaster.forecast(torch.zeros(2, 10, 12), members=1, steps=1)
    with pytest.raises(ValueError, match="steps"):
        forecaster.forecast(past()[0], members=1, steps=0)
    with pytest.raises(ValueError, match="members"):
        forecaster.forecast(past()[0], members=0, steps=1)
    with pytest.raises(ValueError, match="sample 1"):
        forecaster.forecast(torch.stack([torch.zeros(2, 16, 12), torch.full((2, 16, 12), torch.nan)]), 1, 1)
    forecaster.scale = float("inf")
    with pytest.raises(FloatingPointError, match="member 0"):
        forecaster.forecast(past()[0], members=1, steps=1)
    for name, least in (("noise_fields", 0), ("noise_blocks", 1)):
        with pytest.raises(ValueError, match=name):
            NoiseForecasterConfig(**{name: least - 1})
    with pytest.raises(ValueError, match="waves"):
        made(config=dataclasses.replace(SMALL, waves=((6, 0),)))
    with pytest.raises(ValueError, match="modes"):
        made(config=dataclasses.replace(SMALL, modes=()))


def test_other_data_are_refused_and_other_points_are_not():
    def data(**changes):
        given = {"units": dict(FLOW.units), "spacing": (2 / 8, 3 / 6), "time_step": 0.5} | changes
        return dataclasses.replace(read_flow(np.zeros((1, 3, 8, 6)), **given), variable="vorticity")

    FLOW.check(data())
    for changes, word in (
        ({"units": FLOW.units | {"field": "1/h"}}, "field"),
        ({"spacing": (1.0, 1.0)}, "box"),
        ({"time_step": 1.0}, "between two frames"),
    ):
        with pytest.raises(ValueError, match=word):
            FLOW.check(data(**changes))
    with pytest.raises(ValueError, match="variable"):
        FLOW.check(read_flow(np.zeros((1, 3, 8, 6))))
    walls = read_flow(np.zeros((1, 3, 8, 6)), periodic=False)
    with pytest.raises(ValueError, match="periodic"):
        FlowDescription.of(walls)
    with pytest.raises(ValueError, match="frames"):
        FlowDescription.of(read_flow(np.zeros((1, 1, 8, 6))))


@pytest.mark.parametrize(("amplitude", "inner"), [(0.1, (2, 2)), (0.2, (5, 5))])  # 1 % and 4 % of the variance
def test_inner_blocks_take_the_modes_that_hold_the_variance(amplitude, inner):
    y, x = np.meshgrid(*[np.arange(n) * 2 * np.pi / n for n in (24, 24)], indexing="ij")
    frame = np.cos(2 * x) + amplitude * np.cos(5 * y)
    data = read_flow(np.broadcast_to(frame, (3, 2, 24, 24)), periodic=True)
    config = NoiseForecasterConfig(modes=(8, 8)).completed(data)
    forecaster = config.made(FlowDescription.of(data), FrameStatistics(0.0, 1.0, 1.0))
    assert [block.modes for block in forecaster.network.blocks] == [(8, 8), *10 * [inner], (8, 8)]


def test_a_forecaster_saved_before_there_were_inner_blocks_gives_the_same(tmp_path):
    forecaster = made()
    forecaster.save(tmp_path)
    written = tmp_path / "forecaster.json"
    settings = read_json(written, finite=False)
    del settings["config"]["fine"], settings["config"]["inner"]
    written.write_text(json.dumps(settings))
    past = torch.randn(1, 2, 16, 12, generator=torch.Generator().manual_seed(1))
    again = NoiseForecaster.load(tmp_path)
    assert torch.equal(next(again.rollout(past, 2, seed=3)), next(forecaster.rollout(past, 2, seed=3)))
