"""Cells like the training cells are familiar; noise is less so than they, and cells of one phase not at all."""

import numpy as np
import pytest
import torch

from domains.microstructure.data import CellDataConfig, random_cell
from domains.microstructure.familiarity import Familiarity


def test_training_and_held_out_cells_are_mostly_familiar(small):
    first = len(small.rows)
    strange = Familiarity.of(small.designer.model, small.data.cells[:first])
    # Three measures at their 99 % quantiles, one of which is taken from half of the cells.
    assert float((strange(small.data.cells[:first]) > 1).double().mean()) <= 0.04
    assert float((strange(small.data.cells[first:]) > 1).double().mean()) < 0.15


def test_one_phase_is_unusual_and_noise_more_so_than_unseen_cells(small):
    kinds = small.data.config.kinds
    config = CellDataConfig(size=(48, 48), count=260, kinds=kinds, feature=(8 / 60, 8 / 48))  # as many voxels a wave
    cells = torch.stack([random_cell(config, index)[1] for index in range(config.count)])
    strange = Familiarity.of(small.designer.model, cells[:200])
    noise = torch.rand(30, 48, 48, generator=torch.Generator().manual_seed(0)) > 0.5
    assert float(strange(noise.float()).min()) > float(strange(cells[200:]).quantile(0.9))
    assert (strange(torch.stack([torch.zeros(48, 48), torch.ones(48, 48)])) > 1).all()


def test_the_measure_is_what_it_says(small):
    model, known = small.designer.model, small.data.cells[: len(small.rows)].float()
    strange = Familiarity.of(model, known)
    with torch.no_grad():
        latent = model.encode(known)
        wrong = ((model.decode(latent) > 0) != (known > 0.5)).double().mean((1, 2)).numpy()
    rows = []
    for blocks in latent.double().permute(0, 2, 3, 1).numpy():
        channels = blocks.shape[2]
        own = np.cov(blocks.reshape(-1, channels).T, bias=True)[np.triu_indices(channels)]
        off = blocks - blocks.mean((0, 1))
        down, right = ((off * np.roll(off, 1, axis)).mean((0, 1)) for axis in (0, 1))
        rows.append(np.concatenate([blocks.mean((0, 1)), own, down, right]))
    statistics = np.array(rows)
    off = statistics - statistics[::2].mean(0)
    inverse = np.linalg.inv(np.cov(statistics[::2].T) + 1e-8 * np.eye(off.shape[1]))
    distance = np.sqrt(np.einsum("ni,ij,nj->n", off, inverse, off))
    share = known.numpy().mean((1, 2))
    departure = np.abs(share - share.mean())
    expected = np.maximum(distance / np.quantile(distance[1::2], 0.99), wrong / np.quantile(wrong, 0.99))
    expected = np.maximum(expected, departure / np.quantile(departure, 0.99))
    assert strange(known).numpy() == pytest.approx(expected, rel=1e-4)


def test_cells_of_one_share_of_phase_1_may_differ_in_it_by_a_voxel(small):
    config = CellDataConfig(small.data.config.size, 80, volume_fraction=(0.5, 0.5), feature=(0.25, 0.4))
    cells = torch.stack([random_cell(config, index)[1] for index in range(config.count)]).float()
    strange = Familiarity.of(small.designer.model, cells[:60])
    other = cells[60:].clone()
    other[:, 0, 0] = 1 - other[:, 0, 0]
    assert float(strange(other).max()) < 1.5 * float(strange(cells[60:]).max())


def test_a_lower_quantile_is_stricter(small):
    known = small.data.cells[: len(small.rows)]
    loose, strict = (Familiarity.of(small.designer.model, known, q) for q in (0.99, 0.5))
    assert (strict(known) > loose(known)).all()
