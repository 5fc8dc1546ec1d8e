"""The sample is what its configuration makes, and its properties are those of the solvers."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.data import random_cell, read_data
from domains.microstructure.elasticity import Material, effective_stiffness

FOLDER = Path(__file__).parents[2] / "datasets" / "two_phase_cells"
ROWS = [0, 17, 350, 1199]


@pytest.fixture(scope="module")
def data():
    return read_data(FOLDER / "sample.h5")


def test_the_sample_is_small_whole_and_of_the_stated_configuration(data):
    assert (FOLDER / "sample.h5").stat().st_size <= 300_000
    assert data.config == runpy.run_path(str(FOLDER / "generate.py"))["CONFIG"]
    assert data.cells.shape == (data.config.count, *data.config.size)
    assert set(data.kinds) == set(data.config.kinds)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_made_again_from_the_seed(data, row):
    kind, cell = random_cell(data.config, row)
    assert data.kinds[row] == kind
    assert torch.equal(data.cells[row], cell.to(torch.uint8))
    assert float(data.columns["volume_fraction"][row]) == pytest.approx(float(cell.mean()), abs=1e-6)


def test_properties_are_those_of_the_solvers_in_double_precision(data):
    cells = data.cells[ROWS].double()
    conductivity = effective_conductivity(cells, (0.1, 1.0), tolerance=1e-9)
    stiffness = effective_stiffness(cells, (Material(0.1, 0.3), Material(1.0, 0.3)), tolerance=1e-9)
    for name, exact in (("conductivity", conductivity), ("stiffness", stiffness)):
        scale = exact.abs().amax((1, 2), keepdim=True)
        assert float(((data.columns[name][ROWS] - exact) / scale).abs().max()) < 1e-4


def test_no_property_leaves_its_bounds(data):
    share = data.columns["volume_fraction"].double().numpy()
    reuss, voigt = 1 / ((1 - share) / 0.1 + share), (1 - share) * 0.1 + share
    values = np.linalg.eigvalsh(data.columns["conductivity"].double().numpy())
    assert (values[:, 0] > reuss * (1 - 1e-4)).all()
    assert (values[:, 1] < voigt * (1 + 1e-4)).all()
    bounds = [Material(young, 0.3).stiffness(2) for young in (0.1, 1.0)]
    upper = (1 - share)[:, None, None] * bounds[0] + share[:, None, None] * bounds[1]
    assert (np.linalg.eigvalsh(upper - data.columns["stiffness"].double().numpy()) > -1e-4).all()


def test_the_code_of_the_card_runs(monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_data_sets_hold_no_import_package():
    assert not list(FOLDER.parent.rglob("__init__.py"))
