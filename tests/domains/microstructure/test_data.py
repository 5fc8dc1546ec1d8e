"""Data sets of cells: independent of interruption and processes, refused when they are something else."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch

from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.data import CellData, CellDataConfig, generate_data, random_cell, read_data
from domains.microstructure.materials import Materials

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
