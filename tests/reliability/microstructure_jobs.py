"""The long jobs of microstructure in small: cells, the model of them, and what is trained on top of it."""

from pathlib import Path

import torch

from domains.microstructure.data import CellDataConfig, generate_data, read_data
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.sketch import SketchConfig, train_cleaner
from domains.microstructure.stress import StressConfig
from domains.microstructure.stress_training import StressTraining, train_stress
from domains.microstructure.train import TrainConfig, train_janus
from separable.training import RunFolder
from tests.reliability.job import Job, loop_done, tensors_of

CELLS = CellDataConfig((16, 16), 60, ("spinodal",), feature=(0.4, 0.5), materials=Materials(young=None))
MODEL = JanusConfig((16, 16), ("conductivity_xx",), latent=4, width=4)


def generate_cells(folder: Path) -> Path:
    return generate_data(folder / "cells.h5", CELLS, block=4, progress=False)


def cells_left(folder: Path) -> dict[str, bytes]:
    data = read_data(folder / "cells.h5")
    assert len(data) == CELLS.count
    return {"cells": data.cells.numpy().tobytes()} | {n: v.numpy().tobytes() for n, v in data.columns.items()}


def cells_done(folder: Path) -> int:
    rows: set[int] = set()
    for part in (folder / ".cells.h5.parts").glob("*.npz"):
        rows |= set(range(*map(int, part.stem.split("-"))))
    if (folder / "cells.h5").exists():
        rows |= set(range(len(read_data(folder / "cells.h5"))))
    return len(rows)


def run_janus(folder: Path) -> None:
    config = TrainConfig(steps=30, batch=4)
    run = RunFolder(folder / "run", config, 0)
    train_janus(read_data(folder / "cells.h5"), MODEL, config, run=run, progress=False)


def untrained() -> Janus:
    torch.manual_seed(0)
    return Janus(MODEL, torch.zeros(1), torch.ones(1)).eval()


def run_cleaner(folder: Path) -> None:
    config = SketchConfig(touch=4, steps=60, batch=4, drawings=20)
    run = RunFolder(folder / "run", config, 0)
    train_cleaner(read_data(folder / "cells.h5").cells, untrained(), config, run=run, progress=False)


def run_stress(folder: Path) -> None:
    config, training = StressConfig(latent=MODEL.latent, width=4, depth=1), StressTraining(cells=8, steps=30, batch=2)
    run = RunFolder(folder / "run", training, 0)
    train_stress(read_data(folder / "cells.h5").cells, untrained(), config, training, run=run, progress=False)


JOBS = [
    Job("cells", generate_cells, cells_left, cells_done),
    Job("model of cells", run_janus, lambda f: tensors_of(f / "run" / "janus.safetensors"), loop_done, generate_cells),
    Job("cleaner", run_cleaner, lambda f: tensors_of(f / "run" / "cleaner.safetensors"), loop_done, generate_cells),
    Job("stress", run_stress, lambda f: tensors_of(f / "run" / "stress.safetensors"), loop_done, generate_cells),
]
