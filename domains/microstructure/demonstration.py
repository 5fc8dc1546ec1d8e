"""A small model trained in seconds, four cells designed for two targets at a given volume fraction, and the proof."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from domains.microstructure.data import CellData, CellDataConfig, generate_data, read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.janus import JanusConfig
from domains.microstructure.properties import property_names, read_properties
from domains.microstructure.refine import refine
from domains.microstructure.train import TrainConfig, held_out_errors, split, train_janus

SAMPLE = Path(__file__).parents[2] / "datasets" / "two_phase_cells" / "sample.h5"
CONFIG = CellDataConfig(size=(32, 32), count=1200, feature=(0.25, 0.5))
TARGETS = {"conductivity_xx": 0.42, "youngs_y": 0.30}
VOLUME_FRACTION = 0.55


def sample() -> CellData:
    """The sample of `datasets/two_phase_cells`; made again in seconds where only the package is installed."""
    if SAMPLE.exists():
        return read_data(SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        return read_data(generate_data(Path(folder) / "cells.h5", CONFIG))


def demonstration(steps: int = 1000, count: int = 4) -> tuple[list[dict[str, Any]], dict[str, float], Any]:
    """Train, design, solve, refine.

    Args:
        steps: of the training.
        count: number of designs.

    Returns:
        A row for each design and target (wanted, predicted by the model, found by the solver, after refinement);
        numbers by name; and a matplotlib Figure of the designs before and after refinement.
    """
    data = sample()
    names = tuple(n for n in property_names(list(data.columns), 2) if n != "volume_fraction")
    training = TrainConfig(steps=steps, batch=32, rate=8e-3)
    started = time.perf_counter()
    model = train_janus(data, JanusConfig(data.config.size, names, latent=16), training)
    seconds = time.perf_counter() - started
    rows, held_out = split(data, training.held_out)
    error, wrong = held_out_errors(model, data, held_out)

    designer = Designer(model, Library.of(data, model, rows))
    started = time.perf_counter()
    found = designer.design(TARGETS, volume_fraction=VOLUME_FRACTION, count=count)
    design_seconds = time.perf_counter() - started

    materials = data.config.materials
    wanted = {**TARGETS, "volume_fraction": VOLUME_FRACTION}
    started = time.perf_counter()
    refined = torch.stack([refine(cell, wanted, materials, tolerance=0.005).cell for cell in found.cells])
    refine_seconds = time.perf_counter() - started
    predicted = torch.cat([found.predicted, found.cells.flatten(1).mean(1, keepdim=True)], 1)
    solved, final = (read_properties(materials.solve(cells), list(wanted)) for cells in (found.cells, refined))
    table = [
        {
            "design": index + 1,
            "property": name,
            "wanted": value,
            "predicted": float(predicted[index, place]),
            "solved": float(solved[index, place]),
            "refined, solved": float(final[index, place]),
        }
        for index in range(len(found))
        for place, (name, value) in enumerate(wanted.items())
    ]
    targets = torch.tensor(list(wanted.values()))
    numbers = {
        "training cells": float(len(rows)),
        "seconds to train": seconds,
        "median error on held-out cells": error,
        "wrong voxels on held-out cells": wrong,
        "designs found": float(len(found)),
        "seconds to design": design_seconds,
        "seconds to refine": refine_seconds,
        "greatest distance from a target": float((solved / targets - 1).abs().max()),
        "greatest distance after refinement": float((final / targets - 1).abs().max()),
    }
    return table, numbers, _figure(found.cells, refined, solved, final)


def _figure(designed: torch.Tensor, refined: torch.Tensor, solved: torch.Tensor, final: torch.Tensor) -> Any:
    """Designs above, refined below, two by two periods of each, phase 1 dark; the solver's values as titles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(designed), 5.4), layout="constrained")
    axes = figure.subplots(2, len(designed), squeeze=False)
    for row, cells, values, word in zip(
        axes, (designed, refined), (solved, final), ("designed", "refined"), strict=True
    ):
        for axis, cell, value in zip(row, cells, values.tolist(), strict=True):
            axis.imshow(cell.T.repeat(2, 2).numpy(), origin="lower", cmap="Greys", vmin=0, vmax=1.15)
            edge = cell.shape[0] - 0.5
            axis.plot([-0.5, edge, edge], [edge, edge, -0.5], color="tab:red", lw=1)
            axis.set_title(f"{word}: {value[0]:.3f}, {value[1]:.3f}", fontsize=9)
            axis.set_axis_off()
    wanted = ", ".join(f"{name} {value:g}" for name, value in TARGETS.items())
    figure.suptitle(
        f"Wanted: {wanted}, volume fraction {VOLUME_FRACTION:g}. The solver's values above each", fontsize=10
    )
    return figure
