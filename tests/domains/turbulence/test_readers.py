"""Readers: every layout gives the same fields, and what is broken is refused with its place."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch
import xarray

from domains.turbulence.data import FlowDataConfig, generate_data, shard_path
from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow
from domains.turbulence.readers import read_flow
from tests.domains.turbulence.layouts import (
    GRID,
    LAYOUTS,
    NX,
    NY,
    N,
    T,
    as_dataset,
    made,
    write_incompressible,
    write_netcdf,
    write_pdebench,
    write_the_well,
)


@pytest.fixture(scope="module")
def truth():
    return made()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_fields(name, truth, tmp_path):
    data = read_flow(LAYOUTS[name](tmp_path / name, truth))
    assert data.variable == "vorticity"
    assert data.fields.shape == (N, T, NY, NX)
    assert data.spacing == pytest.approx((0.25, 0.5))
    assert data.time_step == pytest.approx(0.1)
    assert data.times.shape == (T,)
    assert data.periodic == (True, True)
    assert data.grid.lengths == pytest.approx(GRID.lengths)
    scale = np.abs(truth[0]).max()
    assert np.abs(data.load().numpy() - truth[0]).max() < 1e-5 * scale
    assert np.abs(data.fields[1, 2:5, 3] - truth[0][1, 2:5, 3]).max() < 1e-5 * scale


@pytest.mark.parametrize(
    ("name", "periodic"),
    [("Periodic", (True, True)), ("nonperiodic", (False, False)), ("non_periodic", (False, False))],
)
def test_a_name_that_says_not_periodic_is_understood(name, periodic, truth, tmp_path):
    assert read_flow(write_pdebench(tmp_path / f"2D_CFD_{name}.hdf5", truth), variable="Vx").periodic == periodic


def test_numbers_may_be_written_in_another_order_of_bytes(truth, tmp_path):
    path, other = (write_pdebench(tmp_path / f"{name}_periodic.hdf5", truth) for name in ("little", "big"))
    with h5py.File(other, "a") as file:
        for name in ("Vx", "Vy"):
            values = file[name][:]
            del file[name]
            file[name] = values.astype(values.dtype.newbyteorder(">"))
    for variable in ("vorticity", "Vx"):
        one, found = (read_flow(p, variable=variable).fields[1] for p in (path, other))
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, one)


def test_the_vorticity_of_half_precision_is_that_of_its_velocity(truth, tmp_path):
    halves = [part.astype(np.float16) for part in truth]
    u, v = halves[1][1, 2].astype(np.float64)
    d_y, d_x = (2j * np.pi * np.fft.fftfreq(n, d) for n, d in ((NY, 0.25), (NX, 0.5)))
    d_y[NY // 2] = d_x[NX // 2] = 0
    wanted = np.fft.ifft2(d_x * np.fft.fft2(v) - d_y[:, None] * np.fft.fft2(u)).real
    for path in (
        write_the_well(tmp_path / "well.hdf5", halves),
        write_pdebench(tmp_path / "gas_periodic.hdf5", halves),
    ):
        found = read_flow(path).fields[1, 2]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_variables_are_chosen_by_name(truth, tmp_path):
    well = write_the_well(tmp_path / "well.hdf5", truth, boundary="WALL")
    assert np.array_equal(read_flow(well, variable="tracer").fields[:], truth[0])
    assert np.array_equal(read_flow(well, variable="velocity_y").fields[2], truth[1][2, :, 1])
    assert read_flow(well, variable="tracer").periodic == (False, False)
    bench = write_incompressible(tmp_path / "ns_incom.h5", truth)
    assert np.array_equal(read_flow(bench, variable="velocity_x").fields[:], truth[1][:, :, 0])
    assert np.array_equal(read_flow(bench, variable="particles").fields[:], truth[0])
    curled = read_flow(write_pdebench(tmp_path / "any.hdf5", truth), variable="vorticity", periodic=True)
    assert np.abs(curled.fields[0] - truth[0][0]).max() < 1e-4
    for path, wrong in ((well, "vorticity"), (well, None), (well, "height"), (bench, "vorticity"), (bench, "w")):
        with pytest.raises(ValueError, match=path.name):
            read_flow(path, variable=wrong)
    with pytest.raises(ValueError, match="periodic"):
        _ = read_flow(well, variable="tracer").grid


def test_one_dimension(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 9, 32)).astype(np.float32)
    with h5py.File(tmp_path / "1D_Burgers.hdf5", "w") as file:
        file["tensor"], file["t-coordinate"] = values, 0.01 * np.arange(10)
        file["x-coordinate"] = np.arange(32) / 32
    data = read_flow(tmp_path / "1D_Burgers.hdf5")
    assert np.array_equal(data.fields[:], values)
    assert data.spacing == (1 / 32,)
    assert data.periodic is None
    with h5py.File(tmp_path / "well.hdf5", "w") as file:
        file.attrs["dataset_name"], file.attrs["grid_type"] = "dummy", "cartesian"
        file.attrs["n_spatial_dims"], file.attrs["n_trajectories"] = 1, 4
        axes, scalars = file.create_group("dimensions"), file.create_group("t0_fields")
        axes.attrs["spatial_dims"], scalars.attrs["field_names"] = ["x"], ["height"]
        axes["time"], axes["x"] = 0.01 * np.arange(9), np.arange(32) / 32
        group = file.create_group("boundary_conditions").create_group("x_boundary")
        group.attrs["associated_dims"], group.attrs["bc_type"] = ["x"], "PERIODIC"
        scalars["height"] = values
        for name in ("sample_varying", "time_varying"):
            scalars["height"].attrs[name] = True
        scalars["height"].attrs["dim_varying"] = [True]
    data = read_flow(tmp_path / "well.hdf5")
    assert np.array_equal(data.fields[:], values)
    assert (data.spacing, data.periodic) == ((1 / 32,), (True,))


def test_one_unknown_of_a_plane_as_pdebench_stores_it(truth, tmp_path):
    with h5py.File(tmp_path / "2D_DarcyFlow_periodic.hdf5", "w") as file:
        file["tensor"], file["t-coordinate"] = truth[0].transpose(0, 1, 3, 2), 0.1 * np.arange(T + 1)
        file["x-coordinate"], file["y-coordinate"] = 0.5 * np.arange(NX), 0.25 * np.arange(NY)
    data = read_flow(tmp_path / "2D_DarcyFlow_periodic.hdf5")
    assert np.array_equal(data.fields[:], truth[0])
    assert data.grid.lengths == pytest.approx(GRID.lengths)


def test_arrays_of_the_user(truth, tmp_path):
    np.save(tmp_path / "mine.npy", truth[0])
    for source in (truth[0], torch.from_numpy(truth[0]), tmp_path / "mine.npy", str(tmp_path / "mine.npy")):
        data = read_flow(source, spacing=(0.25, 0.5), time_step=0.1, units={"field": "s-1"}, periodic=True)
        assert np.array_equal(data.fields[:], truth[0])
        assert data.grid == GRID
        assert data.units["field"] == "s-1"
    assert read_flow(as_dataset(truth)).units == {"field": "s-1", "length": "m", "time": "s"}


def test_an_axis_that_decreases_is_turned_round(truth, tmp_path):
    southwards = as_dataset(truth).isel(northing=slice(None, None, -1))
    southwards.to_netcdf(tmp_path / "south.nc", engine="h5netcdf")
    for source in (southwards, tmp_path / "south.nc"):
        data = read_flow(source)
        assert np.array_equal(data.fields[:], truth[0])
        assert data.spacing == pytest.approx((0.25, 0.5))


def test_dates_are_read_in_the_unit_of_the_file(truth, tmp_path):
    dataset = as_dataset(truth)
    dataset["time"] = dataset.time + 3.0
    dataset.time.attrs["units"] = "hours since 2000-01-01"
    dataset.to_netcdf(tmp_path / "dates.nc", engine="h5netcdf")
    told = read_flow(tmp_path / "dates.nc")
    with xarray.open_dataset(tmp_path / "dates.nc", engine="h5netcdf") as decoded:  # xarray makes dates of it
        assert decoded.time.dtype.kind == "M"
        found = read_flow(decoded)
        assert found.units == told.units == {"field": "s-1", "length": "m", "time": "hours since 2000-01-01"}
        np.testing.assert_allclose(found.times, told.times)
        assert found.time_step == pytest.approx(0.1)
    lengths = as_dataset(truth).assign_coords(time=(6e10 * np.arange(T)).astype("timedelta64[ns]"))
    assert (read_flow(lengths).time_step, read_flow(lengths).units["time"]) == (1.0, "minutes")


def test_a_velocity_with_the_names_of_netcdf_is_not_taken_for_pdebench(tmp_path):
    axes = ("sample", "t", "y", "x")
    values = np.random.default_rng(0).normal(size=(2, 5, 6, 8))
    places = {"t": 0.5 * np.arange(5), "y": 2.0 * np.arange(6), "x": 3.0 * np.arange(8)}
    for names in (axes, ("sample", "t", "x"), ("t", "y", "x")):
        part = values[tuple(slice(None) if axis in names else 0 for axis in axes)]
        coordinates = {axis: places[axis] for axis in names if axis in places}
        xarray.Dataset({"velocity": (names, part)}, coordinates).to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
        data = read_flow(tmp_path / "v.nc")
        assert np.array_equal(data.fields[:], part if "sample" in names else part[None])
        assert (data.spacing, data.time_step) == ((2.0, 3.0) if "y" in names else (3.0,), 0.5)
        data.close()
    with h5py.File(tmp_path / "plain.h5", "w") as file:  # the same without what tells netCDF
        file["velocity"], file["t"] = values, places["t"]
    with pytest.raises(ValueError, match="velocity"):
        read_flow(tmp_path / "plain.h5")


def test_spacing_and_time_step_are_taken_where_the_file_has_none(truth, tmp_path):
    said = {"spacing": (0.25, 0.5), "time_step": 0.1}
    bare = as_dataset(truth, periodic="x y").drop_vars(["time", "x", "northing"]).rename(northing="y")
    bare.to_netcdf(tmp_path / "bare.nc", engine="h5netcdf")
    np.save(tmp_path / "bare.npy", truth[0])
    for source in (bare, tmp_path / "bare.nc", tmp_path / "bare.npy"):
        data, points = read_flow(source, **said), read_flow(source)
        assert np.array_equal(data.fields[:], truth[0])
        assert (data.spacing, data.time_step) == ((0.25, 0.5), pytest.approx(0.1))
        assert (data.units["length"], data.units["time"]) == ("unknown", "unknown")
        assert (points.spacing, points.time_step) == ((1.0, 1.0), 1.0)
        assert (points.units["length"], points.units["time"]) == ("point", "frame")
    velocity_alone = write_incompressible(tmp_path / "ns_periodic.h5", truth)
    data = read_flow(velocity_alone, spacing=said["spacing"])
    assert (data.spacing, data.units["length"]) == ((0.25, 0.5), "unknown")
    assert np.abs(data.fields[0] - truth[0][0]).max() < 1e-4  # the vorticity that the velocity was made of
    with pytest.raises(ValueError, match=r"ns_periodic\.h5: time_step: .*0\.1.*got 7"):
        read_flow(velocity_alone, time_step=7.0)
    for wrong in ({"spacing": 0.0}, {"spacing": np.inf}, {"spacing": (1.0, 2.0, 3.0)}, {"time_step": -1.0}):
        with pytest.raises(ValueError):
            read_flow(bare, **wrong)


def test_spacing_and_time_step_are_refused_where_the_file_has_its_own(truth, tmp_path):
    config = FlowDataConfig(DecayingTurbulence(), (16, 16), trajectories=1, frames=2, spin_up=0.0, step=0.05)
    sources = [write(tmp_path / name, truth) for name, write in LAYOUTS.items()]
    sources += [as_dataset(truth), generate_data(tmp_path / "set", config, progress=False)]
    for source in sources:
        own = read_flow(source)
        for name, value, its in (("spacing", 9.0, own.spacing), ("time_step", 7.0, (own.time_step,))):
            with pytest.raises(ValueError, match=rf"{name}: .*{str(its[0])[:4]}.*got {value}"):
                read_flow(source, **{name: value})


def test_the_well_without_boundary_conditions_repeats_where_the_caller_says_so(truth, tmp_path):
    path = write_the_well(tmp_path / "well.hdf5", truth)

    def without(*names):
        with h5py.File(path, "a") as file:
            for name in names:
                del file[name]

    without("boundary_conditions/y_boundary")
    assert read_flow(path, variable="tracer").periodic is None  # x repeats, y may not
    assert read_flow(path, variable="tracer", periodic=False).periodic == (False, True)
    without("boundary_conditions")
    assert read_flow(path, variable="tracer").periodic is None
    assert read_flow(path, variable="tracer", periodic=False).periodic == (False, False)
    data = read_flow(path, periodic=True)
    assert (data.variable, data.periodic) == ("vorticity", (True, True))
    assert np.abs(data.fields[0] - truth[0][0]).max() < 1e-4
    walls = write_the_well(tmp_path / "walls.hdf5", truth, boundary="WALL")
    with h5py.File(walls, "a") as file:
        del file["boundary_conditions/y_boundary"]
    assert read_flow(walls, variable="tracer").periodic == (False, False)
    assert read_flow(walls, variable="tracer", periodic=True).periodic == (True, False)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_a_netcdf_file_that_was_closed_can_be_written(engine, truth, tmp_path):
    path = write_netcdf(tmp_path / "flow.nc", truth, engine)
    data = read_flow(path)
    for factor in (2.0, 3.0):
        data.close()
        (factor * as_dataset(truth)).to_netcdf(path, engine=engine)
        np.testing.assert_allclose(data.fields[1, 2], factor * truth[0][1, 2], rtol=1e-6)


def test_a_dataset_of_the_user_stays_open(truth, tmp_path):
    with xarray.open_dataset(write_netcdf(tmp_path / "flow.nc", truth), engine="h5netcdf") as dataset:
        closed = []
        dataset.set_close(lambda: closed.append(True))
        read_flow(dataset).close()
        assert not closed


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_value_that_is_not_finite_is_named(name, truth, tmp_path):
    broken = (truth[0].copy(), truth[1].copy())
    for part in broken:
        part[1, 4, ..., 3, 2] = np.nan
    path = LAYOUTS[name](tmp_path / name, broken)
    with pytest.raises(ValueError, match=rf"{name}: sample 1, frame 4"):
        read_flow(path)
    data = read_flow(path, scan=False)
    assert np.isfinite(data.fields[0]).all()
    with pytest.raises(ValueError, match=rf"{name}: sample 1, frame 4"):
        data.windows(2, 2)[1 * 3 + 1]


def test_a_value_that_is_not_finite_is_named_in_arrays_and_incompressible_files(truth, tmp_path):
    broken = truth[0].copy()
    broken[2, 3, 5, 7] = np.inf
    np.save(tmp_path / "mine.npy", broken)
    path = write_incompressible(tmp_path / "ns_periodic.h5", (broken, truth[1]))
    for source, name in ((tmp_path / "mine.npy", None), (broken, None), (path, "particles")):
        with pytest.raises(ValueError, match=r"sample 2, frame 3: .*point y 5, x 7"):
            read_flow(source, variable=name)


@pytest.mark.parametrize("write", [write_pdebench, write_the_well])
def test_missing_frames_are_named(write, truth, tmp_path):
    times = np.delete(0.1 * np.arange(T + 1), 3)
    with pytest.raises(ValueError, match=r"flow\.h5.*: between frame 2 and 3: 1 missing"):
        read_flow(write(tmp_path / "flow.h5", truth, times=times), variable="Vx")
    with pytest.raises(ValueError, match=r"flow\.h5"):
        read_flow(write(tmp_path / "flow.h5", truth, times=0.1 * np.arange(T + 4)), variable="Vx")
    gap = as_dataset(truth).isel(time=[0, 1, 2, 4, 5])
    gap.to_netcdf(tmp_path / "gap.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"gap\.nc.*between frame 2 and 3: 1 missing"):
        read_flow(tmp_path / "gap.nc")
    jumps = 0.1 * np.arange(T) + np.zeros((N, 1))
    jumps[2, 4] += 0.05
    if write is write_the_well:
        with pytest.raises(ValueError, match=r"sample 2: between frame 3 and 4: uneven"):
            read_flow(write(tmp_path / "flow.h5", truth, times=jumps), variable="tracer")


def test_shapes_that_disagree_are_named(truth, tmp_path):
    cut = write_pdebench(tmp_path / "cut.hdf5", truth, pressure=np.ones((N, T - 1, NX, NY)))
    with pytest.raises(ValueError, match=r"cut\.hdf5: pressure"):
        read_flow(cut, variable="Vx")
    short = write_pdebench(tmp_path / "short.hdf5", truth, x=np.arange(NX - 1.0))
    with pytest.raises(ValueError, match=r"short\.hdf5: x-coordinate"):
        read_flow(short, variable="Vx")
    uneven = write_pdebench(tmp_path / "uneven.hdf5", truth, x=np.arange(NX) ** 1.2)
    with pytest.raises(ValueError, match=r"uneven\.hdf5.*point along x"):
        read_flow(uneven, variable="Vx")
    fewer = write_the_well(tmp_path / "fewer.hdf5", truth, samples=N + 1)
    with pytest.raises(ValueError, match=r"fewer\.hdf5: tracer"):
        read_flow(fewer)
    sphere = write_the_well(tmp_path / "sphere.hdf5", truth, grid_type="spherical")
    with pytest.raises(ValueError, match="spherical"):
        read_flow(sphere)
    layered = as_dataset(truth).expand_dims(level=3)
    with pytest.raises(ValueError, match="level"):
        read_flow(layered)


def test_units_that_disagree_are_named(truth, tmp_path):
    path = write_netcdf(tmp_path / "flow.nc", truth)
    assert read_flow(path, units={"field": "s-1"}).units["field"] == "s-1"
    with pytest.raises(ValueError, match=r"flow\.nc: expected the unit 'h-1' of field, got 's-1'"):
        read_flow(path, units={"field": "h-1"})
    with pytest.raises(ValueError, match="pressure"):
        read_flow(path, units={"pressure": "Pa"})
    mixed = as_dataset(truth)
    mixed.x.attrs["units"] = "km"
    mixed.to_netcdf(tmp_path / "mixed.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"mixed\.nc.*'km' and 'm'"):
        read_flow(tmp_path / "mixed.nc")


def test_our_shards_are_checked_against_their_sums(tmp_path):
    config = FlowDataConfig(KolmogorovFlow(), (16, 16), (), 3, 5, 0.5, 1.0, 0.05, shard=2)
    folder = generate_data(tmp_path / "set", config, progress=False)
    assert len(read_flow(folder)) == 3
    assert len(read_flow(shard_path(folder, 1))) == 1
    with pytest.raises(ValueError, match="vorticity"):
        read_flow(folder, variable="pressure")
    with h5py.File(shard_path(folder, 0), "a") as file:
        file["vorticity"][1, 2, 0, 0] += 1
    with pytest.raises(ValueError, match=r"shard_00000\.h5: sample 1"):
        read_flow(folder)
    assert len(read_flow(folder, scan=False)) == 3
    shard_path(folder, 1).unlink()
    with pytest.raises(ValueError, match=r"shard_00001\.h5"):
        read_flow(folder)
    assert dataclasses.asdict(config)["frames"] == 5


def test_what_is_no_flow_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_flow(tmp_path / "none.h5")
    with pytest.raises(ValueError):
        read_flow(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="text"):
        read_flow(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(ValueError, match="weights"):
        read_flow(tmp_path / "other.h5")
    for wrong in (np.zeros((3, 4)), np.zeros((2, 3, 4, 4), dtype=int), np.zeros((2, 0, 4, 4)), [1, 2], None):
        with pytest.raises(ValueError):
            read_flow(wrong)
    with pytest.raises(ValueError):
        read_flow(np.zeros((2, 3, 4, 4)), spacing=-1.0)
