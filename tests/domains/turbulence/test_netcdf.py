"""What netCDF says about dates, boxes and axes is read as it is meant, or refused."""

import importlib.util

import numpy as np
import pytest
import xarray

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.readers import read_flow


def dated(start, calendar=None):
    """Two samples, four frames every six hours from a date."""
    told = {"units": f"hours since {start}"} | ({"calendar": calendar} if calendar else {})
    return xarray.Dataset(
        {"w": (("sample", "time", "y", "x"), np.random.default_rng(0).normal(size=(2, 4, 8, 8)))},
        {"time": ("time", 6.0 * np.arange(4), told), "y": 100.0 + np.arange(8), "x": 0.5 + np.arange(8)},
    )


def test_data_sets_told_since_different_dates_are_joined_on_one_clock(tmp_path):
    for number, start in enumerate(("2000-02-28", "2000-03-01 12:00")):
        dated(start).to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    data = read_flow([tmp_path / "0.nc", tmp_path / "1.nc"])
    assert data.units["time"] == "hours since 2000-02-28"
    assert [data.time_of(sample, 1) for sample in range(4)] == [6.0, 6.0, 66.0, 66.0]  # there is a 29th in between
    FlowDescription.of(read_flow(tmp_path / "0.nc")).check(read_flow(tmp_path / "1.nc"))
    for number in (0, 1):
        dated(f"2000-03-0{number + 1}", "noleap").to_netcdf(tmp_path / f"no_leap_{number}.nc", engine="h5netcdf")
    assert read_flow(tmp_path / "no_leap_0.nc").calendar == "noleap"
    for other in ("0.nc", "no_leap_1.nc"):  # another calendar, or a date that only cftime can count from
        with pytest.raises(ValueError, match=r"calendar|units"):
            read_flow([tmp_path / "no_leap_0.nc", tmp_path / other])


@pytest.mark.skipif(importlib.util.find_spec("cftime") is not None, reason="cftime counts from any date")
def test_dates_that_need_cftime_are_refused_by_the_name_of_their_file(tmp_path):
    for number, start in enumerate(("0001-01-01", "2000-01-01")):
        dated(start).to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    assert len(read_flow(tmp_path / "0.nc")) == 2  # alone it need not be told since another date
    for first, second in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=rf"{second}\.nc.*cftime"):
            read_flow([tmp_path / f"{first}.nc", tmp_path / f"{second}.nc"])


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
@pytest.mark.parametrize(
    ("kind", "unwritten"), [("f4", 9.969209968386869e36), ("f8", 9.969209968386869e36), ("i2", -32767)]
)
def test_what_was_never_written_is_missing(engine, kind, unwritten, tmp_path):
    values = np.arange(2 * 4 * 8 * 8, dtype=kind).reshape(2, 4, 8, 8)
    for name, held, told in (
        ("whole", 7, {}),
        ("hole", unwritten, {}),
        ("named", unwritten, {"_FillValue": np.dtype(kind).type(-1)}),  # the file has a value of its own
    ):
        values[1, 2, 3, 4] = held
        attributes = {"scale_factor": 0.5} if kind == "i2" else {}
        dataset = xarray.Dataset({"w": (("sample", "time", "y", "x"), values, attributes | told)})
        path = tmp_path / f"{name}.nc"
        dataset.to_netcdf(path, engine=engine, encoding={} if told else {"w": {"_FillValue": None}})
        if name == "hole":
            with pytest.raises(ValueError, match="sample 1, frame 2"):
                read_flow(path)
        else:
            found = read_flow(path).fields[:]
            np.testing.assert_array_equal(found, values * attributes.get("scale_factor", 1))


def test_small_boxes_and_short_steps_are_told_apart(tmp_path):
    fields = np.random.default_rng(0).normal(size=(1, 4, 8, 8))
    first = read_flow(fields, spacing=1e-9, time_step=1e-9, periodic=True)
    for spacing, step in ((8e-10, 1e-9), (1e-9, 5e-9)):
        with pytest.raises(ValueError):
            FlowDescription.of(first).check(read_flow(fields, spacing=spacing, time_step=step, periodic=True))
    for number, step in enumerate((1e-9, 4e-9)):
        dataset = xarray.Dataset({"w": (("sample", "time", "y", "x"), fields)}, {"time": step * np.arange(4)})
        dataset.to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="time between frames"):
        read_flow([tmp_path / "0.nc", tmp_path / "1.nc"])


@pytest.mark.parametrize("said", ["all", "1", "yes", "x, z"])
def test_an_attribute_periodic_of_other_words_is_refused_unless_the_caller_says_it(said):
    dataset = dated("2000-01-01").assign_attrs(periodic=said)
    with pytest.raises(ValueError, match="periodic"):
        read_flow(dataset)
    assert read_flow(dataset, periodic=True).periodic == (True, True)
    assert read_flow(dataset.assign_attrs(periodic="x, y")).periodic == (True, True)


def test_complex_numbers_and_parts_of_a_sphere_are_refused():
    with pytest.raises(ValueError, match="real numbers"):
        read_flow(dated("2000-01-01") * (1 + 1j))
    globe = dated("2000-01-01").rename(y="lat", x="lon")
    for axis in ("lat", "lon"):
        globe[axis].attrs["units"] = "degrees"
    with pytest.raises(ValueError, match="sphere"):
        read_flow(globe)
