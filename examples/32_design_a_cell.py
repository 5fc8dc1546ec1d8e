"""Cells with wanted properties: train a small Janus, invert it, prove the designs by the solver, refine, write files.

The sample of `datasets/two_phase_cells` trains a model in seconds, which is coarse; `separable microstructure train` on
a larger set of 64^2 voxels makes a better one. Either way the solver has the last word.

Usage: python 32_design_a_cell.py [steps of the training]
"""

import sys
import time
from pathlib import Path

import torch

from domains.microstructure.data import read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.familiarity import Familiarity
from domains.microstructure.images import write_cell
from domains.microstructure.janus import JanusConfig
from domains.microstructure.pictures import picture
from domains.microstructure.properties import read_properties
from domains.microstructure.refine import refine
from domains.microstructure.train import TrainConfig, held_out_errors, split, train_janus

SAMPLE = Path(__file__).parents[1] / "datasets" / "two_phase_cells" / "sample.h5"
PROPERTIES = ("conductivity_xx", "conductivity_yy", "youngs_x", "youngs_y", "shear_xy")
TARGETS = {"conductivity_xx": 0.45, "youngs_y": 0.28}
VOLUME_FRACTION = 0.55


def main(steps: str = "700") -> None:
    """Train, design, check, refine, write."""
    data = read_data(SAMPLE)
    materials = data.config.materials  # conductivities and moduli of the phases: 0.1 and 1
    training = TrainConfig(steps=int(steps), batch=32, rate=8e-3)
    started = time.perf_counter()
    model = train_janus(data, JanusConfig(data.config.size, PROPERTIES, latent=16), training, progress=False)
    rows, held_out = split(data, training.held_out)
    error, wrong = held_out_errors(model, data, held_out)
    print(
        f"trained on {len(rows)} cells in {time.perf_counter() - started:.0f} s; on {len(held_out)} others: median "
        f"error of a property {error:.1%}, wrong voxels after encoding and decoding {wrong:.1%}"
    )

    designer = Designer(model, Library.of(data, model, rows))
    try:
        designer.design({"conductivity_xx": 0.6}, volume_fraction=0.4)
    except ValueError as refused:
        print("refused:", refused)

    found = designer.design(TARGETS, volume_fraction=VOLUME_FRACTION, count=4)
    for warning in found.warnings:
        print("note:", warning)
    strange = Familiarity.of(model, data.cells[: len(rows)])(found.cells)
    solved = read_properties(materials.solve(found.cells), list(TARGETS))
    wanted = {**TARGETS, "volume_fraction": VOLUME_FRACTION}
    refined = [refine(cell, wanted, materials, tolerance=0.005) for cell in found.cells]
    print(f"wanted {wanted}")
    for number, better in enumerate(refined):
        print(
            f"design {number + 1}: predicted {found.predicted[number].numpy().round(3)}, "
            f"solved {solved[number].numpy().round(3)}, refined {better.achieved.numpy().round(4)} "
            f"in {len(better.path)} solves; unlike the training cells by {float(strange[number]):.2f} (1: unusual)"
        )
        write_cell(better.cell, f"design_{number + 1}.png", overwrite=True)
        write_cell(better.cell, f"design_{number + 1}.stl", voxel_size=0.1, thickness=5, overwrite=True)

    titles = [f"designed, {float(s[0]):.3f}, {float(s[1]):.3f}" for s in solved]
    titles += [f"refined, {float(b.achieved[0]):.3f}, {float(b.achieved[1]):.3f}" for b in refined]
    figure = picture(torch.cat([found.cells, torch.stack([b.cell for b in refined])]), titles)
    figure.savefig("designs.png", dpi=110, bbox_inches="tight")
    print("pictures: designs.png, design_*.png; for a printer: design_*.stl")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:2])
