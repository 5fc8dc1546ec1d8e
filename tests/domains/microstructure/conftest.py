"""A small data set and a model trained on it in seconds: poor, but a model."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from domains.microstructure.data import CellData, CellDataConfig, generate_data, read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.janus import JanusConfig
from domains.microstructure.train import TrainConfig, split, train_janus

PROPERTIES = ("conductivity_xx", "conductivity_yy", "youngs_x", "youngs_y", "shear_xy")
SETTINGS = {"latent": 16, "width": 16, "modes": 8, "rank": 8}


@dataclass(frozen=True)
class Small:
    """Cells of 16^2 voxels and a designer that knows all but the held-out ones."""

    data: CellData
    designer: Designer
    rows: range
    held_out: range
    folder: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    kinds = ("spinodal", "gaussian", "overlapping_spheres")
    config = CellDataConfig(size=(16, 16), count=600, kinds=kinds, feature=(0.4, 0.5))
    data = read_data(generate_data(folder / "cells.h5", config, progress=False))
    training = TrainConfig(steps=700, batch=16, rate=1e-2)
    model = train_janus(data, JanusConfig((16, 16), PROPERTIES, **SETTINGS), training, progress=False)
    rows, held_out = split(data, training.held_out)
    return Small(data, Designer(model, Library.of(data, model, rows)), rows, held_out, folder)
