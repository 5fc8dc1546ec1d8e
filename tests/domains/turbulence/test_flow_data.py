"""What was read: fields that are read where they are indexed, times, files that are joined, and windows."""

import pickle

import h5py
import numpy as np
import pytest
import torch

from domains.turbulence.data import FlowDataConfig, generate_data, shard_path
from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow
from domains.turbulence.readers import LazyFields, read_flow
from domains.turbulence.readers.lazy_fields import ArraySource
from tests.domains.turbulence.layouts import (
    NX,
    NY,
    N,
    T,
    as_dataset,
    made,
    write_incompressible,
    write_netcdf,
    write_the_well,
)


@pytest.fixture(scope="module")
def truth():
    return made()


def test_fields_are_read_only_where_they_are_indexed(truth):
    class Counted(ArraySource):
        frames = 0

        def read(self, sample, start, stop):
            Counted.frames += stop - start
            return super().read(sample, start, stop)

    fields = LazyFields([Counted("a", truth[0]), Counted("b", truth[0][:2])])
    assert fields.shape == (5, T, NY, NX)
    assert Counted.frames == 0
    assert np.array_equal(fields[3, 4], truth[0][0, 4])
    assert Counted.frames == 1
    assert np.array_equal(fields[-1, ::-2], truth[0][1, ::-2])
    assert np.array_equal(fields[1:4, 1:3, ..., 2], np.concatenate([truth[0][1:], truth[0][:1]])[:, 1:3, :, 2])
    assert fields[:0].shape == (0, T, NY, NX)
    for wrong in (5, (0, 6), "a"):
        with pytest.raises(IndexError):
            fields[wrong]


def test_bytes_are_read_in_this_machines_order(truth, tmp_path):
    np.save(tmp_path / "big.npy", truth[0].astype(">f4"))
    write_netcdf(tmp_path / "classic.nc", truth, "scipy")  # which is always so
    for name in ("big.npy", "classic.nc"):
        found = read_flow(tmp_path / name).fields.read(0, 0, T)
        assert found.dtype.isnative
        assert np.array_equal(torch.from_numpy(found).numpy(), truth[0][0])


def test_every_sample_has_its_times(truth, tmp_path):
    times = 0.1 * np.arange(T) + np.array([5.0, 0.0, 2.5])[:, None]
    well = write_the_well(tmp_path / "well.hdf5", truth, times=times)
    with h5py.File(write_incompressible(tmp_path / "ns_periodic.h5", truth), "a") as file:
        file["t"][...] = times
    later = as_dataset(truth)
    later["time"] = later.time + 2.5
    later.time.attrs["units"] = "s"
    later.to_netcdf(tmp_path / "later.nc")
    joined = read_flow([write_netcdf(tmp_path / "first.nc", truth), tmp_path / "later.nc"])
    for data, wanted in (
        (read_flow(well), times),
        (read_flow(tmp_path / "ns_periodic.h5"), times),
        (read_flow([well, well]), np.concatenate([times, times])),
        (joined, 0.1 * np.arange(T) + np.repeat([0.0, 2.5], N)[:, None]),
        (read_flow(write_the_well(tmp_path / "same.hdf5", truth)), np.tile(0.1 * np.arange(T), (N, 1))),
    ):
        found = [[data.time_of(sample, frame) for frame in range(T)] for sample in range(len(data))]
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_what_is_read_is_what_was_asked_for():
    first, second = (np.random.default_rng(seed).normal(size=(2, 5, 4, 4)) for seed in (0, 1))
    fields = LazyFields([ArraySource("first", first), ArraySource("second", second)])
    for sample in range(-4, 4):
        np.testing.assert_array_equal(fields.read(sample, 1, 3), np.concatenate([first, second])[sample, 1:3])
    for sample, start, stop in ((4, 0, 1), (-5, 0, 1), (0, 3, 6), (0, -1, 2), (0, 3, 2)):
        with pytest.raises(IndexError, match="expected"):
            fields.read(sample, start, stop)


def test_files_of_one_kind_are_joined_and_of_two_are_not(truth, tmp_path):
    for name in ("a", "b"):
        write_the_well(tmp_path / f"{name}.hdf5", truth)
    data = read_flow(tmp_path)
    assert len(data) == 2 * N
    assert np.allclose(data.fields[N], data.fields[0])
    data.close()
    later = 0.2 * np.arange(T)
    write_the_well(tmp_path / "b.hdf5", truth, times=later)
    with pytest.raises(ValueError, match=r"b\.hdf5.*time between frames"):
        read_flow([tmp_path / "a.hdf5", tmp_path / "b.hdf5"])
    scaled = as_dataset(truth)
    scaled.vorticity.attrs["units"] = "h-1"
    scaled.to_netcdf(tmp_path / "hours.nc")
    write_netcdf(tmp_path / "seconds.nc", truth)
    with pytest.raises(ValueError, match=r"hours\.nc.*units.*h-1"):
        read_flow([tmp_path / "seconds.nc", tmp_path / "hours.nc"])


def test_data_sets_of_one_flow_are_joined_and_of_two_are_not(tmp_path):
    sizes = {"size": (16, 16), "trajectories": 1, "frames": 2, "spin_up": 0.0, "step": 0.05}
    kinds = {
        "one": DecayingTurbulence(),
        "other_start": DecayingTurbulence(start_mode=3),
        "thicker": DecayingTurbulence(viscosity=0.01),
        "driven": KolmogorovFlow(),
    }
    for name, flow in kinds.items():
        generate_data(tmp_path / name, FlowDataConfig(flow, **sizes), progress=False)
    path = {name: shard_path(tmp_path / name, 0) for name in kinds}
    assert len(read_flow([path["one"], path["other_start"]])) == 2
    for name, word in (("thicker", "viscosity"), ("driven", "KolmogorovFlow")):
        with pytest.raises(ValueError, match=f"the flow.*{word}"):
            read_flow([path["one"], path[name]])


def test_windows_are_all_pieces_of_all_samples(truth):
    data = read_flow(truth[0])
    windows = data.windows(2, 3, stride=1)
    assert len(windows) == 2 * N
    pieces = list(windows)
    for index, (history, lead) in enumerate(pieces):
        sample, start = divmod(index, 2)
        assert np.array_equal(torch.cat([history, lead]).numpy(), truth[0][sample, start : start + 5])
        assert history.dtype == torch.float32
    assert len(pieces) == len(windows)
    assert len(data.windows(1, 1, stride=2, samples=[2])) == 3
    for wrong in ({"history": 4, "lead": 3}, {"history": 0, "lead": 1}, {"history": 1, "lead": 1, "samples": [3]}):
        with pytest.raises(ValueError):
            data.windows(**wrong)


def test_windows_work_in_other_processes(truth, tmp_path):
    data = read_flow(write_the_well(tmp_path / "well.hdf5", truth), variable="tracer")
    windows = pickle.loads(pickle.dumps(data.windows(1, 1)))  # how a DataLoader sends them to its workers
    assert np.array_equal(windows[7][1][0].numpy(), truth[0][1, 3])
