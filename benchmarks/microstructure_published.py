"""The published arrangement (one latent vector, a KHRONOS product, inversion of the head alone) beside ours."""

from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.microstructure_design import FOLDER, MODEL, TARGETS, TRAINING, cells
from benchmarks.microstructure_measures import trained
from benchmarks.trial import STUDIES, usual
from domains.microstructure.data import CellData
from domains.microstructure.design import Designer, Library
from domains.microstructure.janus import Janus
from domains.microstructure.properties import read_properties
from domains.microstructure.train import held_out_errors, split

PUBLISHED = {"latent": 64, "width": 16, "rank": 8, "head": "published"}
PUBLISHED_FOLDER = STUDIES / "microstructure_published"
DESIGNED = usual(40, trial=2)  # targets


def measured(name: str, janus: Janus, seconds: float, data: CellData, through: str, offsets: bool) -> dict[str, Any]:
    """Reading, round trip, and designs for some targets, solved."""
    rows, held_out = split(data, TRAINING.held_out)
    designer = Designer(janus, Library.of(data, janus, rows))
    if not offsets:
        designer.offsets = torch.zeros_like(designer.offsets)
    error, pixels = held_out_errors(janus, data, held_out)
    values = read_properties(data.columns, TARGETS)
    off = []
    for index in range(held_out.start, held_out.start + DESIGNED):
        wanted = dict(zip(TARGETS, values[index].tolist(), strict=True))
        fraction = float(data.columns["volume_fraction"][index])
        found = designer.design(wanted, volume_fraction=fraction, count=4, through=through)
        achieved = read_properties(designer.library.materials.solve(found.cells), TARGETS)
        off.append((achieved / values[index] - 1).abs().amax(1))
    errors = torch.cat(off)
    row = {
        "arrangement": name,
        "median error of reading": error,
        "wrong voxels": pixels,
        "designs: median of the worse property": float(errors.median()),
        "designs: both within 5 %": float((errors <= 0.05).float().mean()),
        "head parameters": janus.head_parameters(),
        "parameters": sum(p.numel() for p in janus.parameters()),
        "training, processor seconds": seconds,
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure and record; ours is the model that `benchmarks.microstructure_design` trains."""
    data = cells()
    published, seconds = trained(data, PUBLISHED_FOLDER, PUBLISHED, TRAINING)
    ours, our_seconds = trained(data, FOLDER, MODEL, TRAINING)
    first = measured("ours", ours, our_seconds, data, "cell", True)
    rows = [
        measured("ours, without the known error of the start", ours, our_seconds, data, "cell", False),
        measured("ours, inverted through the head alone", ours, our_seconds, data, "head", False),
        measured("published", published, seconds, data, "head", False),
    ]
    better = [
        first["median error of reading"] < rows[2]["median error of reading"],
        first["wrong voxels"] < rows[2]["wrong voxels"],
        first["designs: median of the worse property"] < rows[2]["designs: median of the worse property"],
    ]
    gains = [rows[2][name] / first[name] for name in ("designs: median of the worse property", "wrong voxels")]
    record.write(
        "microstructure",
        "published",
        claim="A latent that keeps its place in the cell, inverted through the decoded cell: designs {:.1f} times "
        "nearer to their targets and {:.0f} times fewer wrong voxels than the published arrangement, properties read "
        "as accurately".format(*gains),
        measured=[first],
        target="reading, round trip and designs all better than the published arrangement",
        holds=bool(np.all(better)),
        baselines=rows,
        command="python -m benchmarks.microstructure_published",
        seeds=[0],
        spread="one training each; the paper gives no sizes, a vector of 64 and rank 8 are ours",
    )


if __name__ == "__main__":
    main()
