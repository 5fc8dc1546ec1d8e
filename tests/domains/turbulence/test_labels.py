"""Coordinates of a history: its dates, calendar, places and samples go on through a forecast, or are refused."""

import dataclasses
import json

import numpy as np
import pytest
import xarray

from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.readers import read_flow
from tests.domains.turbulence.small_forecaster import FLOW, SMALL, made, past


def test_times_since_a_date_are_forecast_by_lengths_of_time(tmp_path):
    dated = dataclasses.replace(FLOW, units=FLOW.units | {"time": "hours since 2000-01-01"})
    found = made(dated).forecast(past()[0], members=1, steps=2, reference_time=3.0)
    found.to_netcdf(tmp_path / "forecast.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "forecast.nc", decode_timedelta=True) as back:  # as CF tells what units are
        half = np.timedelta64(30, "m")
        assert list(back.forecast_period.values) == [half, 2 * half]
        assert back.forecast_reference_time.values == np.datetime64("2000-01-01T03:00")
        assert (back.time - back.forecast_reference_time == back.forecast_period).all()


CELLS = (0.5 * 2.0 / 16, 0.5 * 3.0 / 12)  # centres of cells
DAYS = dataclasses.replace(FLOW, units=FLOW.units | {"time": "days since 2000-01-01"}, time_step=1.0, origin=CELLS)


def labelled_past(unit="days since 2001-03-01", calendar="noleap"):
    """Frames of cells whose centres are half a cell from the edge, on the last day of February and before it.

    Along y they begin 200 waves of the force further than where the forecasters learned.
    """
    return xarray.DataArray(
        past()[0].numpy(),
        {
            "time": ("time", [-2.0, -1.0], {"units": unit, "calendar": calendar}),
            "y": 100 + 2.0 / 16 * (0.5 + np.arange(16)),
            "x": 3.0 / 12 * (0.5 + np.arange(12)),
        },
        ("time", "y", "x"),
        "vorticity",
    )


def test_a_forecast_goes_on_with_the_coordinates_of_its_history():
    history = labelled_past()
    found = made(DAYS).forecast(history, members=2, steps=3, seed=1)
    assert found.time.values.tolist() == [0.0, 1.0, 2.0]
    assert found.time.attrs["units"] == "days since 2001-03-01"
    assert found.time.attrs["calendar"] == found.forecast_reference_time.attrs["calendar"] == "noleap"
    assert float(found.forecast_reference_time) == -1.0
    assert (found.vorticity.isel(realization=0) - history[-1]).shape == (3, 16, 12)  # on the same places
    plain = made(DAYS).forecast(history.values, members=2, steps=3, seed=1)
    np.testing.assert_array_equal(found.vorticity.values, plain.vorticity.values)


def test_dimensions_of_a_history_may_be_in_any_order_and_axes_may_decrease():
    history = labelled_past()
    expected = made(DAYS).forecast(history, members=2, steps=2)
    for same in (history.transpose("x", "time", "y"), history.isel(y=slice(None, None, -1)), history.rename(time="t")):
        xarray.testing.assert_identical(made(DAYS).forecast(same, members=2, steps=2), expected)


def test_decoded_dates_are_told_in_the_unit_of_the_forecaster():
    history = xarray.decode_cf(labelled_past(calendar="standard").to_dataset()).vorticity
    history.time.encoding.clear()
    found = xarray.decode_cf(made(DAYS).forecast(history, members=1, steps=2), decode_timedelta=False)
    assert found.time.values.astype("datetime64[D]").astype(str).tolist() == ["2001-03-01", "2001-03-02"]


def test_histories_with_other_labels_are_refused():
    history = labelled_past()
    for wrong, match in (
        (history.rename(y="height"), "dimensions"),
        (history.assign_coords(x=2 * history.x), "box"),
        (labelled_past(unit="hours since 2000-01-01"), "days"),
        (history.isel(time=slice(None, None, -1)), "frame"),
        (history.assign_coords(time=("time", [-3.0, -1.0], history.time.attrs)), "1 between two frames, got 2"),
        (history.assign_attrs(units="K"), "unit of field"),
        (history.assign_coords(x=("x", history.x.values, {"units": "km"})), "unit of length"),
    ):
        with pytest.raises(ValueError, match=match):
            made(DAYS).forecast(wrong, members=1, steps=1)


def test_a_time_that_is_given_is_in_the_unit_of_the_forecaster():
    found = made(DAYS).forecast(labelled_past(), members=1, steps=1, reference_time=425.0)
    date = np.datetime64("2000-01-01") + np.timedelta64(425, "D")
    assert date == np.datetime64("2001-03-01")
    decoded = xarray.decode_cf(found, decode_timedelta=False)  # in the forecaster's calendar, the usual one
    assert decoded.forecast_reference_time.values == date
    assert decoded.time.values.tolist() == [(date + 1).astype("datetime64[ns]").astype(int)]


def test_the_calendar_of_the_data_is_kept_and_older_descriptions_are_read():
    times = {"time": ("time", 3650.0 + np.arange(3), {"units": "days since 2000-01-01", "calendar": "noleap"})}
    places = {"y": 0.5 + np.arange(8.0), "x": np.arange(8.0)}
    data = read_flow(xarray.Dataset({"w": (("time", "y", "x"), np.arange(192.0).reshape(3, 8, 8))}, times | places))
    description = FlowDescription.of(data)
    assert (description.calendar, description.origin) == ("noleap", (0.5, 0.0))
    forecaster = Persistence(description)
    frames = data.fields.read(0, 2, 3)
    found = forecaster.forecast(frames, members=1, steps=1, reference_time=3652.0)
    xarray.testing.assert_identical(found, forecaster.forecast(data.labelled(0, 2, 3), members=1, steps=1))
    assert found.time.attrs["calendar"] == "noleap"
    settings = json.loads(json.dumps(dataclasses.asdict(description)))
    assert FlowDescription.from_settings(settings) == description
    older = FlowDescription.from_settings({n: v for n, v in settings.items() if n not in ("calendar", "origin")})
    assert older == dataclasses.replace(description, calendar="", origin=())


@pytest.mark.parametrize("decoded", [False, True])
def test_a_forecast_goes_on_with_the_date_of_a_forecast(decoded, tmp_path):
    forecaster = made(DAYS)
    first = forecaster.forecast(labelled_past(calendar="standard"), members=2, steps=3)
    history = (xarray.decode_cf(first, decode_timedelta=True) if decoded else first).vorticity[:, -2:]
    second = xarray.decode_cf(forecaster.forecast(history, members=2, steps=2), decode_timedelta=False)
    assert second.forecast_reference_time.values == np.datetime64("2001-03-03")  # from the last of February on
    assert second.time.values.astype("datetime64[D]").astype(str).tolist() == ["2001-03-04", "2001-03-05"]
    first.to_netcdf(tmp_path / "forecast.nc", engine="h5netcdf")
    data = read_flow(tmp_path / "forecast.nc")
    assert (data.units["time"], data.times.tolist()) == ("days since 2001-03-01", [0.0, 1.0, 2.0])


def test_a_history_that_begins_elsewhere_fits_the_waves_of_the_force_or_is_refused():
    forecaster = made(config=dataclasses.replace(SMALL, noise_fields=0))
    frames = past()[0]

    def beginning(at, along):  # the same flow, told from another point on
        names, sizes = ("y", "x"), (2 / 16, 3 / 12)
        places = {n: d * ((n == along) * at + np.arange(s)) for n, d, s in zip(names, sizes, (16, 12), strict=True)}
        return xarray.DataArray(frames.roll(-at, (-2, -1)[along == "x"]).numpy(), places, ("time", "y", "x"))

    whole = forecaster.forecast(frames, members=1, steps=2).vorticity.values
    for at, along in ((4, "y"), (-8, "y"), (5, "x")):
        found = forecaster.forecast(beginning(at, along), members=1, steps=2).vorticity.values
        np.testing.assert_allclose(np.roll(found, at, (-2, -1)[along == "x"]), whole, atol=1e-5)
    for at in (1, 2, -3):
        with pytest.raises(ValueError, match="y = 0"):
            forecaster.forecast(beginning(at, "y"), members=1, steps=1)
        data = read_flow(beginning(at, "y").to_dataset(name="vorticity"), units={"field": "1/s", "length": "m"})
        data = dataclasses.replace(data, times=0.5 * data.times, units=data.units | {"time": "s"})
        FLOW.check(data)
        with pytest.raises(ValueError, match="y = 0"):
            forecaster.check(data)
        Persistence(FLOW).check(data)


def test_lengths_of_time_are_told_in_the_unit_of_the_forecaster():
    times = np.arange(0, 50, dtype="timedelta64[h]").astype("timedelta64[ns]")
    frames = xarray.DataArray(np.ones((50, 8, 8)), {"time": times}, ("time", "y", "x"), "w")
    hours = Persistence(FlowDescription.of(read_flow(frames.to_dataset())))
    for hour in (0, 1, 24, 25):
        assert hours.forecast(frames[hour : hour + 1], members=1, steps=1).time.values.tolist() == [hour + 1]
        hours.check(read_flow(frames[hour : hour + 1].to_dataset()))
    with pytest.raises(ValueError, match="hours"):
        hours.check(read_flow(frames[::24].to_dataset()))
    plain = Persistence(dataclasses.replace(hours.description, units=hours.description.units | {"time": "1"}))
    for odd in (times, np.datetime64("2000-01-01", "ns") + times):
        with pytest.raises(ValueError, match="'1'"):
            plain.forecast(frames.assign_coords(time=odd)[:1], members=1, steps=1)


def test_times_in_single_precision_are_those_of_the_same_flow():
    def frames(first, count, step=0.05):
        times = (first + step * np.arange(count)).astype(np.float32)
        return read_flow(xarray.Dataset({"u": (("time", "x"), np.ones((count, 16)))}, {"time": times}))

    description = FlowDescription.of(frames(0, 100))
    for first in (5, 20, 100):
        description.check(frames(first, 2))
    with pytest.raises(ValueError, match="between two frames"):
        description.check(frames(100, 2, 0.051))


def test_samples_keep_their_labels_and_draw_by_position():
    frames = past(2).numpy()
    plain = made().forecast(frames, members=2, steps=2)
    for name, labels in (("sample", [5, 2]), ("realization", ["b", "a"])):
        history = xarray.DataArray(frames, {name: labels}, (name, "time", "y", "x"))
        found = made().forecast(history, members=2, steps=2)
        assert found.sample.values.tolist() == labels
        np.testing.assert_array_equal(found.vorticity.values, plain.vorticity.values)
    assert plain.sample.values.tolist() == [0, 1]
