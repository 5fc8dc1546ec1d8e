"""The demonstration has its cells also where the data set's sample is not."""

import dataclasses

import torch

from domains.microstructure import demonstration as module
from domains.microstructure.data import random_cell


def test_without_the_sample_the_same_cells_are_made(tmp_path, monkeypatch):
    sample = module.sample()
    assert sample.config == module.CONFIG
    monkeypatch.setattr(module, "SAMPLE", tmp_path / "none.h5")
    monkeypatch.setattr(module, "CONFIG", dataclasses.replace(module.CONFIG, count=6))
    made = module.sample()
    assert torch.equal(made.cells, sample.cells[:6])
    assert torch.allclose(made.columns["stiffness"], sample.columns["stiffness"][:6], rtol=1e-4, atol=1e-5)
    assert torch.equal(made.cells[5], random_cell(module.CONFIG, 5)[1].byte())
