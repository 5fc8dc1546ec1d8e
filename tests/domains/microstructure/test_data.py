"""Data sets of cells: independent of interruption and processes, refused when they are something else."""

import dataclasses
import os
import shutil
import signal
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from domains.microstructure import data as module
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.data import CellData, CellDataConfig, generate_data, random_cell, read_data
from domains.microstructure.materials import Materials
from separable.training import claims
from tests.reliability.killing import start, until

SMALL = CellDataConfig(size=(16, 16), count=7, feature=(0.25, 0.4), seed=3, materials=Materials(young=None))


def test_rows_hold_the_cells_of_their_index_and_the_solvers_values(tmp_path):
    data = read_data(generate_data(tmp_path / "cells.h5", SMALL, block=3, progress=False))
    assert len(data) == 7
    for row in (0, 4, 6):
        kind, cell = random_cell(SMALL, row)
        assert data.kinds[row] == kind
        assert torch.equal(data.cells[row], cell.to(torch.uint8))
        exact = effective_conductivity(cell[None], (0.1, 1.0), tolerance=1e-10)[0]
        assert torch.allclose(data.columns["conductivity"][row].double(), exact, rtol=1e-4)
        assert abs(float(data.columns["volume_fraction"][row]) - float(cell.mean())) < 1e-6


def test_an_interrupted_set_is_finished_and_finished_rows_are_kept(tmp_path):
    path = generate_data(tmp_path / "cells.h5", SMALL, block=3, progress=False)
    whole = read_data(path)
    with h5py.File(path, "a") as file:
        file["done"][3:6] = False
        file["cells"][3:6] = 0
        file["volume_fraction"][0] = 0.123  # a finished row is not computed again
    again = read_data(generate_data(path, SMALL, block=3, progress=False))
    assert torch.equal(again.cells, whole.cells)
    assert float(again.columns["volume_fraction"][0]) == pytest.approx(0.123)


def test_only_finished_rows_are_read(tmp_path):
    path = generate_data(tmp_path / "cells.h5", SMALL, progress=False)
    with h5py.File(path, "a") as file:
        file["done"][2] = False
    assert len(read_data(path)) == 6


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_cells_without_a_property_are_left_out_in_any_unit(unit):
    tensors = torch.tensor([0.2, 0.4, 0.6])[:, None, None] * torch.eye(2)
    flow = torch.stack([torch.eye(2), torch.diag(torch.tensor([1.0, 1e-9])), 1e-3 * torch.eye(2)])
    columns = {"conductivity": unit * tensors, "permeability": flow}
    data = CellData(torch.zeros(3, 16, 16, dtype=torch.uint8), columns, ["spinodal", "gaussian", "spinodal"], SMALL)
    kept, dropped = data.where_positive(["conductivity_xx", "permeability_yy"])
    assert dropped == 1
    assert kept.kinds == ["spinodal", "spinodal"]
    assert torch.equal(kept.columns["conductivity"], columns["conductivity"][[0, 2]])


def test_processes_do_not_change_the_set(tmp_path):
    one = read_data(generate_data(tmp_path / "one.h5", SMALL, block=4, progress=False))
    two = read_data(generate_data(tmp_path / "two.h5", SMALL, block=4, processes=2, progress=False))
    assert torch.equal(one.cells, two.cells)
    assert torch.allclose(one.columns["conductivity"], two.columns["conductivity"], rtol=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return generate_data(tmp_path_factory.mktemp("whole") / "cells.h5", SMALL, block=3, progress=False)


def make(folder, patience=60.0, **options):
    return generate_data(folder / "set" / "cells.h5", SMALL, block=3, patience=patience, **options)


def stopping(monkeypatch, folder, first):
    """Let whoever makes a block wait in its middle for a file named go."""
    compute = module._compute

    def stopped(config, rows):
        if rows.start == first:
            (folder / "middle").touch()
            until(folder / "go")
        return compute(config, rows)

    monkeypatch.setattr(module, "_compute", stopped)


def test_processes_divide_a_set_and_make_each_block_once(whole, tmp_path, monkeypatch):
    compute, join = module._compute, module._join

    def told(name):
        (tmp_path / f"by-{os.getpid()}").mkdir(exist_ok=True)
        (tmp_path / f"by-{os.getpid()}" / name).touch()

    def together(config, rows):
        told(str(rows.start))
        while len(list(tmp_path.glob("by-*"))) < 2:  # nobody is done before the other has begun
            time.sleep(0.01)
        return compute(config, rows)

    def joined(*arguments):
        told("join")
        join(*arguments)

    monkeypatch.setattr(module, "_compute", together)
    monkeypatch.setattr(module, "_join", joined)
    other = start(lambda: make(tmp_path, progress=False))
    path = make(tmp_path, progress=False)
    assert path.read_bytes() == whole.read_bytes()
    assert os.waitpid(other, 0)[1] == 0
    assert sorted(file.name for file in tmp_path.glob("by-*/*")) == ["0", "3", "6", "join"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("locks", [True, False])
def test_a_block_whose_maker_was_killed_is_taken_over(whole, tmp_path, monkeypatch, locks):
    if not locks:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    patience = 300.0 if locks else 1.0  # a lock that is gone tells at once
    with monkeypatch.context() as patch:
        stopping(patch, tmp_path, 3)
        other = start(lambda: make(tmp_path, patience, progress=False))
    until(tmp_path / "middle")
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    path = make(tmp_path, patience, progress=False)
    assert path.read_bytes() == whole.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_second_call_returns_when_the_file_is_finished(whole, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        stopping(patch, tmp_path, 0)
        other = start(lambda: make(tmp_path, progress=False))
    until(tmp_path / "middle")
    waits = []

    def wait(seconds):
        waits.append((tmp_path / "set" / "cells.h5").exists())
        (tmp_path / "go").touch()
        time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "time", SimpleNamespace(sleep=wait))
        path = make(tmp_path)
    assert waits[0] is False
    assert path.read_bytes() == whole.read_bytes()
    assert "waiting for other processes" in capfd.readouterr().err
    assert os.waitpid(other, 0)[1] == 0


def test_one_that_is_interrupted_leaves_the_others_at_work(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stopping(patch, tmp_path, 0)
        other = start(lambda: make(tmp_path, progress=False))
    until(tmp_path / "middle")
    compute = module._compute

    def interrupted(config, rows):
        if rows.start == 6:
            raise KeyboardInterrupt
        return compute(config, rows)

    monkeypatch.setattr(module, "_compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, progress=False)
    path = tmp_path / "set" / "cells.h5"
    assert torch.equal(read_data(path).cells, read_data(whole).cells[3:6])
    (tmp_path / "go").touch()
    assert os.waitpid(other, 0)[1] == 0
    assert list(path.parent.iterdir()) == [path]
    found, wanted = read_data(path), read_data(whole)
    assert torch.equal(found.cells, wanted.cells)
    assert torch.equal(found.columns["conductivity"], wanted.columns["conductivity"])


def test_a_process_that_slept_while_another_joined_does_no_harm(whole, tmp_path, monkeypatch):
    version, calls = module._version, []

    def slept(path):
        calls.append(path)
        if len(calls) == 2:
            shutil.copyfile(whole, path)
            shutil.rmtree(path.with_name(".cells.h5.parts"))
        return version(path)

    monkeypatch.setattr(module, "_version", slept)
    path = make(tmp_path, progress=False)
    assert path.read_bytes() == whole.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_another_configuration_does_not_overwrite(tmp_path):
    path = generate_data(tmp_path / "cells.h5", SMALL, progress=False)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        generate_data(path, dataclasses.replace(SMALL, seed=4), progress=False)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("bad", [{"processes": 0}, {"processes": -1}, {"block": 0}, {"block": -1}])
def test_no_workers_and_no_rows_leave_no_file(tmp_path, bad):
    with pytest.raises(ValueError):
        generate_data(tmp_path / "cells.h5", SMALL, progress=False, **bad)
    assert list(tmp_path.iterdir()) == []


def test_foreign_and_missing_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_data(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError):
        read_data(tmp_path / "other.h5")
    with pytest.raises(ValueError):
        generate_data(tmp_path / "other.h5", SMALL, progress=False)


@pytest.mark.parametrize("shape", [None, (1, 2, 2)])
def test_a_property_that_is_missing_or_cut_off_is_refused(tmp_path, shape):
    path = generate_data(tmp_path / "cells.h5", SMALL, progress=False)
    with h5py.File(path, "a") as file:
        del file["conductivity"]
        file["done"][-1] = False  # one is still to be made
        if shape:
            file["conductivity"] = np.ones(shape, "f4")
    for reading in (read_data, lambda file: generate_data(file, SMALL, progress=False)):
        with pytest.raises(ValueError, match=r"cells\.h5"):
            reading(path)


@pytest.mark.parametrize(
    "change",
    [
        {"size": (16,)},
        {"size": (4, 4)},
        {"count": 0},
        {"kinds": ("cheese",)},
        {"kinds": ()},
        {"volume_fraction": (0.5, 0.2)},
        {"volume_fraction": (0.0, 0.2)},
        {"feature": (0.2, 1.5)},
        {"feature": (0.1, 0.4)},
    ],
)
def test_bad_configurations(change):
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize("size", [(24, 16), (12, 12, 12)])
def test_every_kind_in_two_and_three_dimensions(size):
    config = dataclasses.replace(SMALL, size=size)
    kinds = {}
    for index in range(40):
        kind, cell = random_cell(config, index)
        kinds[kind] = cell
        assert tuple(cell.shape) == size
        assert set(cell.unique().tolist()) <= {0.0, 1.0}
        assert 0.1 < float(cell.mean()) < 0.9
    assert set(kinds) == set(config.kinds)


def test_spheres_of_more_than_half_a_side_are_of_half_a_side():
    config = dataclasses.replace(SMALL, kinds=("overlapping_spheres",), feature=(0.6, 0.7), count=5)
    shares = [float(random_cell(config, index)[1].mean()) for index in range(5)]
    low, high = config.volume_fraction
    assert all(low - 0.01 <= share <= high + 0.01 for share in shares)
