"""Data sets: the same bits after any interruption, and refused clearly when they cannot be made."""

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from domains.turbulence import data as module
from domains.turbulence.data import FlowDataConfig, generate_data, shard_path
from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow, KuramotoSivashinsky, StochasticTurbulence
from domains.turbulence.grid import resample
from domains.turbulence.readers import read_flow
from domains.turbulence.simulate import simulate
from separable.training import claims
from tests.reliability.killing import start, until

SMALL = FlowDataConfig(
    KolmogorovFlow(), (16, 16), trajectories=5, frames=20, spacing=0.2, spin_up=1.0, step=0.05, shard=2, seed=3
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return generate_data(tmp_path_factory.mktemp("whole") / "set", SMALL, progress=False)


def contents(folder):
    return [path.read_bytes() for path in sorted(folder.glob("shard_*.h5"))]


def test_shards_hold_the_solvers_fields_and_their_meaning(whole):
    start = SMALL.flow.random_start(SMALL.grid, [(3, 2, 0), (3, 3, 0)])
    moments = [1.0 + 0.2 * frame for frame in range(20)]
    expected = simulate(SMALL.flow, SMALL.grid, start, moments, step=0.05).fields
    with h5py.File(shard_path(whole, 1)) as file:
        assert np.array_equal(file["vorticity"][:], expected.float().numpy())
        assert file["trajectory"][:].tolist() == [2, 3]
        assert np.allclose(file["time"][:], 0.2 * np.arange(20))
        assert FlowDataConfig.from_json(file.attrs["config"]) == SMALL
        assert file["vorticity"].attrs["units"] == "1"
    assert len(contents(whole)) == 3
    assert len(list(whole.iterdir())) == 4


def test_shards_are_netcdf(whole):
    import xarray

    with xarray.open_dataset(shard_path(whole, 2), engine="h5netcdf") as dataset:
        assert dataset.vorticity.dims == ("trajectory", "time", "y", "x")
        assert dataset.vorticity.shape == (1, 20, 16, 16)


def test_an_interrupted_set_is_finished_to_the_same_bits(whole, tmp_path, monkeypatch):
    made = module.frames_of
    calls = []

    def interrupted(*arguments, **options):
        for index, frame in enumerate(made(*arguments, **options)):
            calls.append(index)
            if len(calls) == 40:  # in the middle of the second shard
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(module, "frames_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_data(tmp_path / "set", SMALL, progress=False)
    assert len(contents(tmp_path / "set")) == 1
    with pytest.raises(ValueError, match="shard_00001"):
        read_flow(tmp_path / "set")
    monkeypatch.undo()
    generate_data(tmp_path / "set", SMALL, progress=False)
    assert contents(tmp_path / "set") == contents(whole)
    before = [path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()]
    generate_data(tmp_path / "set", SMALL, progress=False)
    assert before == [path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()]


def test_a_killed_run_goes_on_and_processes_do_not_change_the_set(whole, tmp_path):
    folder = tmp_path / "set"
    program = f"""
import torch; torch.set_num_threads(1)
from domains.turbulence.data import FlowDataConfig, generate_data
config = FlowDataConfig.from_json({SMALL.to_json()!r})
generate_data({str(folder)!r}, config, progress=False)
"""
    running = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while not shard_path(folder, 0).exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert shard_path(folder, 0).exists()
    generate_data(folder, SMALL, processes=2, progress=False)
    assert contents(folder) == contents(whole)
    assert len(list(folder.iterdir())) == 4


def test_another_configuration_is_told_by_what_differs(whole):
    before = contents(whole)
    for change in ({"frames": 21}, {"flow": KolmogorovFlow(viscosity=0.02)}):
        with pytest.raises(ValueError, match=rf"{next(iter(change))}.*; choose another folder"):
            generate_data(whole, dataclasses.replace(SMALL, **change), progress=False)
    assert contents(whole) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        generate_data(tmp_path, SMALL, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
        with pytest.raises(OSError, match="needs about") as raised:
            generate_data(tmp_path / "a", SMALL, progress=False)
        assert raised.value.errno == errno.ENOSPC
    lay_out = module._lay_out

    def full(file, config, members):
        if members[0] == 2:
            raise OSError("Unable to create dataset (file write failed: errno = 28, error message = 'No space left')")
        return lay_out(file, config, members)

    monkeypatch.setattr(module, "_lay_out", full)
    with pytest.raises(OSError, match="1 of 3 shards are finished") as raised:
        generate_data(tmp_path / "b", SMALL, progress=False)
    assert raised.value.errno == errno.ENOSPC
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["dataset.json", "shard_00000.h5"]


def stopping(monkeypatch, folder, shard):
    """Let whoever makes a shard wait in its middle for a file named go."""
    write = module._write_shard

    def stopped(path, config, index):
        for frames in write(path, config, index):
            if index == shard:
                (folder / "middle").touch()
                until(folder / "go")
            yield frames

    monkeypatch.setattr(module, "_write_shard", stopped)


def test_processes_divide_a_set_and_make_each_shard_once(whole, tmp_path, monkeypatch):
    make = module._make_shard

    def together(path, place, config, index, told):
        (tmp_path / f"by-{os.getpid()}").mkdir(exist_ok=True)
        (tmp_path / f"by-{os.getpid()}" / str(index)).touch()
        while len(list(tmp_path.glob("by-*"))) < 2:  # nobody is done before the other has begun
            time.sleep(0.01)
        make(path, place, config, index, told)

    monkeypatch.setattr(module, "_make_shard", together)
    other = start(lambda: generate_data(tmp_path / "set", SMALL, progress=False, patience=60.0))
    generate_data(tmp_path / "set", SMALL, progress=False, patience=60.0)
    assert contents(tmp_path / "set") == contents(whole)
    assert os.waitpid(other, 0)[1] == 0
    assert sorted(file.name for file in tmp_path.glob("by-*/*")) == ["0", "1", "2"]
    assert len(list(tmp_path.glob("by-*"))) == 2
    assert {path.name for path in (tmp_path / "set").iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize("locks", [True, False])
def test_a_shard_whose_maker_was_killed_is_taken_over(whole, tmp_path, monkeypatch, locks):
    if not locks:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    patience = 300.0 if locks else 1.0  # a lock that is gone tells at once
    with monkeypatch.context() as patch:
        stopping(patch, tmp_path, 1)
        other = start(lambda: generate_data(tmp_path / "set", SMALL, progress=False, patience=patience))
    until(tmp_path / "middle")
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    generate_data(tmp_path / "set", SMALL, progress=False, patience=patience)
    assert contents(tmp_path / "set") == contents(whole)
    assert {path.name for path in (tmp_path / "set").iterdir()} == {path.name for path in whole.iterdir()}


def test_a_second_call_returns_when_the_shards_of_the_first_are_there(whole, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        stopping(patch, tmp_path, 0)
        other = start(lambda: generate_data(tmp_path / "set", SMALL, progress=False, patience=60.0))
    until(tmp_path / "middle")
    waits = []

    def wait(seconds):
        waits.append([path.name for path in sorted((tmp_path / "set").glob("shard_*"))])
        (tmp_path / "go").touch()
        time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "time", SimpleNamespace(sleep=wait))
        generate_data(tmp_path / "set", SMALL, patience=60.0)
    assert waits[0] == ["shard_00001.h5", "shard_00002.h5"]
    assert contents(tmp_path / "set") == contents(whole)
    assert "waiting for shards of other processes" in capfd.readouterr().err
    assert os.waitpid(other, 0)[1] == 0


def test_a_process_that_slept_until_its_place_was_gone_does_no_harm(whole, tmp_path, monkeypatch):
    write, calls = module._write_shard, []

    def slept(path, config, index):
        yield from write(path, config, index)
        calls.append(index)
        if len(calls) == 2:
            shutil.rmtree(path.parent)

    monkeypatch.setattr(module, "_write_shard", slept)
    generate_data(tmp_path / "set", SMALL, progress=False, patience=0.1)
    assert calls == [0, 1, 2, 1]
    assert contents(tmp_path / "set") == contents(whole)


def test_an_unstable_trajectory_is_named(tmp_path):
    config = dataclasses.replace(SMALL, step=10.0, spacing=10.0)
    with pytest.raises(FloatingPointError, match="shard 0"):
        generate_data(tmp_path / "set", config, progress=False)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["dataset.json"]
    with pytest.raises(ValueError, match=r"step = 10.*remove it, as it has no shard"):
        generate_data(tmp_path / "set", SMALL, progress=False)


@pytest.mark.parametrize(
    "config",
    [
        FlowDataConfig(KuramotoSivashinsky(), (48,), (32.0,), 3, 5, 1.0, 10.0, 0.1, shard=2, precision="float32"),
        FlowDataConfig(StochasticTurbulence(), (24, 32), (), 3, 5, 0.5, 1.0, 0.1, (16, 16), shard=2),
        FlowDataConfig(DecayingTurbulence(), (16, 20), (1.0, 2.0), 2, 3, 0.01, 0.0, 0.005),
    ],
    ids=lambda config: type(config.flow).__name__,
)
def test_every_flow_on_its_grid(config, tmp_path):
    generate_data(tmp_path / "set", config, progress=False)
    found = read_flow(tmp_path / "set")
    grid = config.stored_grid
    assert found.fields.shape == (config.trajectories, config.frames, *grid.shape)
    assert found.grid == grid
    assert found.time_step == pytest.approx(config.spacing)
    assert FlowDataConfig.from_json(json.dumps(found.attributes["config"])) == config
    start = config.flow.random_start(config.grid, [(0, 0, 0), (0, 1, 0)]).to(getattr(torch, config.precision))
    moments = [config.spin_up + config.spacing * i for i in range(config.frames)]
    seeds = [(0, 0, 1), (0, 1, 1)]
    again = simulate(config.flow, config.grid, start, moments, step=config.step, seeds=seeds).fields
    assert torch.equal(found.load([0, 1]), resample(again, grid.shape).float() if config.stored else again.float())


@pytest.mark.parametrize(
    "change",
    [
        {"size": (16,)},
        {"size": (8, 8)},  # the force has four waves
        {"lengths": (1.0,)},
        {"trajectories": 0},
        {"frames": 0},
        {"shard": 0},
        {"shard": 2.5},
        {"spacing": 0.0},
        {"step": math.nan},
        {"spin_up": -1.0},
        {"stored": (32, 32)},
        {"stored": (8,)},
        {"precision": "float16"},
        {"seed": -1},
    ],
)
def test_bad_configurations(change):
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, **change)
