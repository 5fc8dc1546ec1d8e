"""The verbs of `separable microstructure`, which are plain functions: generate, solve, train, design."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from domains.microstructure.data import CellDataConfig, generate_data, read_data
from domains.microstructure.design import Designer, Designs, Library
from domains.microstructure.images import read_cell, write_cell
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.properties import property_names, read_properties
from domains.microstructure.refine import refine
from domains.microstructure.train import TrainConfig, split, train_janus
from separable.training import Report, RunFolder

_DATA, _MATERIALS, _TRAINING = CellDataConfig(), Materials(), TrainConfig()


def generate(path: Path, /, config: CellDataConfig = _DATA, processes: int = 2) -> Path:
    """Make a data set of random cells and their properties; an interrupted one is finished.

    Args:
        path: the HDF5 file to write.
        config: what to make.
        processes: worker processes.
    """
    written = generate_data(path, config, processes=processes)
    print(f"{written}: {len(read_data(written))} cells")
    return written


def solve(images: tuple[Path, ...], /, materials: Materials = _MATERIALS) -> list[dict[str, float]]:
    """Properties of images by the solvers.

    Args:
        images: PNG, TIFF, npy, HDF5 or VTK files of cells.
        materials: the phases, and the properties wanted.
    """
    if not images:
        raise ValueError("images: expected one file or more, got none")
    found = []
    for path in images:
        cell = read_cell(path)
        columns = materials.solve(cell[None].float())
        names = property_names(list(columns), cell.ndim)
        values = dict(zip(names, read_properties(columns, names)[0].tolist(), strict=True))
        found.append(values)
        print(f"{path}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    return found


def train(
    data: Path,
    /,
    run: Path = Path("runs/microstructure"),
    config: TrainConfig = _TRAINING,
    latent: int = 12,
    width: int = 16,
) -> Designer:
    """Train a model that reads and designs cells; an interrupted run goes on where it was.

    Args:
        data: a data set made by `generate`.
        run: the run folder.
        config: of the training.
        latent: coordinates for each block of 8 voxels a side.
        width: channels of the first stage.
    """
    cells = read_data(data)
    names = [n for n in property_names(list(cells.columns), len(cells.config.size)) if n != "volume_fraction"]
    cells, dropped = cells.where_positive(names)
    if dropped:
        print(f"{data}: {dropped} cells left out, which have a property of zero (no path for the flow)")
    model_config = JanusConfig(cells.config.size, tuple(names), latent=latent, width=width)
    settings = {"data": cells.config.to_json(), "model": dataclasses.asdict(model_config)}
    folder = RunFolder(run, {**settings, "training": dataclasses.asdict(config)}, config.seed)
    model = train_janus(cells, model_config, config, run=folder)
    designer = Designer(model, Library.of(cells, model, split(cells, config.held_out)[0]))
    designer.save(folder.path)
    last = folder.metrics()[-1]
    print(f"{run}: median error {last['median_error']:.2%}, wrong voxels {last['pixel_error']:.2%} on held-out cells")
    return designer


def design(
    images: tuple[Path, ...] = (),
    /,
    target: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    run: Path = Path("runs/microstructure"),
    volume_fraction: float | None = None,
    count: int = 8,
    symmetry: str = "none",
    connected: bool = False,
    refined: bool = False,
    out: Path = Path("runs/designs"),
    formats: tuple[str, ...] = ("png", "h5"),
) -> Designs:
    """Design cells with wanted properties, solve them, and say how far each is from its target.

    Args:
        images: cells to start from instead of the training cells.
        target: ``name=value``, given once for each property.
        run: folder of a trained model.
        volume_fraction: share of phase 1 that every design has.
        count: number of distinct designs.
        symmetry: none, mirror or cubic.
        connected: whether phase 1 has to be in one piece.
        refined: whether the solver's adjoint refines each design.
        out: folder for the designs and the report.
        formats: of the files of each design: png, tif, npy, h5, vti, vtk, stl.
    """
    targets = parse_targets(target)
    designer = Designer.load(run)
    materials = designer.library.materials
    given, values = None, None
    if images:
        given = torch.stack([_fitting(path, designer.model) for path in images]).float()
        values = read_properties(materials.solve(given), designer.model.config.properties)
    started = time.perf_counter()
    found = designer.design(
        targets,
        volume_fraction=volume_fraction,
        count=count,
        symmetry=symmetry,
        connected=connected,
        images=given,
        image_values=values,
    )
    milliseconds = 1000 * (time.perf_counter() - started)
    print(f"{len(found)} designs in {milliseconds:.0f} ms")
    for warning in found.warnings:
        print(f"note: {warning}")
    cells = found.cells
    if refined:
        wanted = dict(targets) if volume_fraction is None else {**targets, "volume_fraction": volume_fraction}
        cells = torch.stack([refine(cell, wanted, materials).cell for cell in cells])
    achieved = read_properties(materials.solve(cells), list(targets))
    folder = RunFolder(out, {"targets": targets, "volume_fraction": volume_fraction, "run": str(run)}, 0)
    rows = _rows(targets, achieved, cells)
    for index, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        for suffix in formats:
            write_cell(cell, folder.path / f"design_{index + 1}.{suffix}", overwrite=True)
        folder.log(**row)
        print(
            ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            )
        )
    _report(folder, cells, rows, targets)
    return found


def parse_targets(texts: tuple[str, ...]) -> dict[str, float]:
    """Targets from ``name=value`` texts.

    Raises:
        ValueError: a text that is not of that form, or a name given twice.

    Example:
        >>> parse_targets(("youngs_y=0.25",))
        {'youngs_y': 0.25}
    """
    targets: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"target: expected name=value, got {text!r}")
        if name in targets:
            raise ValueError(f"target: expected each property once, got {name} twice")
        targets[name] = number
    if not targets:
        raise ValueError("target: expected one or more of the form name=value, got none")
    return targets


def _fitting(path: Path, model: Janus) -> Tensor:
    cell = read_cell(path)
    if tuple(cell.shape) != model.config.size:
        raise ValueError(f"{path}: expected a cell of {model.config.size}, got {tuple(cell.shape)}")
    return cell


def _rows(targets: dict[str, float], achieved: Tensor, cells: Tensor) -> list[dict[str, Any]]:
    rows = []
    for index in range(len(cells)):
        row: dict[str, Any] = {"design": index + 1, "volume fraction": float(cells[index].mean())}
        for place, (name, value) in enumerate(targets.items()):
            row[name] = float(achieved[index, place])
            row[f"{name} off by"] = f"{float(achieved[index, place]) / value - 1:+.2%}"
        rows.append(row)
    return rows


def _report(folder: RunFolder, cells: Tensor, rows: list[dict[str, Any]], targets: dict[str, float]) -> None:
    report = Report(
        "Designed cells",
        "Cells designed for "
        + ", ".join(f"{name} = {value:g}" for name, value in targets.items())
        + ". The values in the table are those of the solver on the final cells.",
    )
    report.table(rows)
    report.picture(folder.figure("designs", picture(cells)), "The designs, phase 1 dark")
    folder.write("report.html", report.html())


def picture(cells: Tensor, titles: list[str] | None = None) -> Any:
    """A figure of cells side by side, phase 1 dark, x to the right and y up; of 3-D cells the first layer in z.

    Example:
        >>> figure = picture(torch.stack([generate_cell("spinodal", (16, 16), 0.5, seed=s) for s in range(3)]))
        >>> len(figure.axes)
        3
    """
    import matplotlib.pyplot as plt

    columns = min(len(cells), 4)
    figure, axes = plt.subplots(
        -(-len(cells) // columns), columns, figsize=(2.2 * columns, 2.4 * -(-len(cells) // columns)), squeeze=False
    )
    for index, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if index < len(cells):
            plane = cells[index] if cells[index].ndim == 2 else cells[index][..., 0]
            axis.imshow(plane.T.numpy(), origin="lower", cmap="Greys", vmin=0, vmax=1)
            if titles:
                axis.set_title(titles[index], fontsize=8)
    for axis in list(figure.axes):
        if not axis.images:
            axis.remove()
    return figure
