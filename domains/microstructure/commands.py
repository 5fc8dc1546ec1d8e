"""The verbs of `separable microstructure`, which are plain functions: generate, solve, train, design, sketch."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from domains.microstructure.data import CellDataConfig, generate_data, read_data
from domains.microstructure.design import Designer, Designs, Library
from domains.microstructure.elasticity import elastic_response
from domains.microstructure.familiarity import Familiarity
from domains.microstructure.images import read_cell, write_cell
from domains.microstructure.images.writing import check_formats
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.pictures import picture, stress_picture
from domains.microstructure.properties import property_names, read_properties
from domains.microstructure.refine import NotPositiveError, refine
from domains.microstructure.sketch import (
    SketchCleaner,
    SketchConfig,
    cut,
    drawn_fraction,
    read_sketch,
    train_cleaner,
)
from domains.microstructure.stress import StressConfig, StressDecoder, relative_error, under, von_mises
from domains.microstructure.stress_training import StressTraining, train_stress
from domains.microstructure.train import TrainConfig, split, train_janus
from separable.atomic_files import replacing
from separable.hdf5 import writing_hdf5
from separable.training import Report, RunFolder, is_main_process

_DATA, _MATERIALS, _TRAINING = CellDataConfig(), Materials(), TrainConfig()
_CLEANING, _STRESS = SketchConfig(), StressTraining()


def generate(path: Path, /, config: CellDataConfig = _DATA, processes: int = 2) -> Path:
    """Make a data set of random cells and their properties; an interrupted one is finished.

    The same command in several processes, on one machine or on several that share the folder, divides the cells.

    Args:
        path: the HDF5 file to write.
        config: what to make.
        processes: worker processes.
    """
    written = generate_data(path, config, processes=processes)
    print(f"{written}: {len(read_data(written))} cells")
    return written


def solve(
    images: tuple[Path, ...],
    /,
    materials: Materials = _MATERIALS,
    threshold: float | Literal["otsu"] | None = None,
    phase: Literal["bright", "dark"] | float = "bright",
    periodic: Literal["check", "mirror", "accept"] = "check",
    dataset: str | None = None,
    index: int | None = None,
) -> list[dict[str, float]]:
    """Properties of images by the solvers.

    Args:
        images: PNG, TIFF, npy, HDF5 or VTK files of cells.
        materials: the phases, and the properties wanted.
        threshold: of an image of more than two values: a number in its units, above which it is bright, or otsu.
        phase: what is phase 1: what is bright or dark, or one value of a segmented image.
        periodic: what is done with opposite faces that do not fit: check warns, mirror doubles every axis, accept does
            not look.
        dataset: name of the array in HDF5 and VTK files that hold several.
        index: entry of the first axis of an HDF5 or npy array of many cells.
    """
    if not images:
        raise ValueError("images: expected one file or more, got none")
    found = []
    for path in images:
        cell = read_cell(path, threshold=threshold, phase=phase, dataset=dataset, index=index, periodic=periodic)
        columns = materials.solve(cell[None].float())
        names = property_names(list(columns), cell.ndim)
        values = dict(zip(names, read_properties(columns, names)[0].tolist(), strict=True))
        found.append(values)
        print(
            f"{path}, {' x '.join(map(str, cell.shape))}: "
            + ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        )
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
    if is_main_process():
        designer.save(folder.path)
        last = [line["scores"] for line in folder.metrics() if "scores" in line][-1]
        found = f"median error {last['median_error']:.2%}, wrong voxels {last['pixel_error']:.2%}"
        print(f"{run}: {found} on held-out cells")
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
    formats: tuple[str, ...] | None = None,
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
        refined: whether the solver's adjoint refines each design, but for those without flow, which are told; in Python
            the designs before it are returned.
        out: folder for the designs and the report; one that holds designs asked for otherwise is refused.
        formats: of each design's files: png (flat cells), tif, npy, h5, vti, vtk, stl; by default h5 and png or vti.
    """
    targets = parse_targets(target)
    designer = Designer.load(run)
    dimensions = len(designer.model.config.size)
    suffixes = ("png" if dimensions == 2 else "vti", "h5") if formats is None else formats
    check_formats(suffixes, dimensions)
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
    if not len(found):
        raise ValueError("target: no cell came out that is connected; try without, or another volume fraction")
    # Before the minutes of a refinement, so that a folder of other designs is told first.
    asked: dict[str, Any] = {
        "targets": targets,
        "volume_fraction": volume_fraction,
        "count": count,
        "symmetry": symmetry,
    }
    asked |= {"connected": connected, "refined": refined, "images": [str(path) for path in images], "run": str(run)}
    folder = RunFolder(out, asked, 0)
    cells = found.cells.clone()
    if refined:
        wanted = dict(targets) if volume_fraction is None else {**targets, "volume_fraction": volume_fraction}
        for index, cell in enumerate(cells):
            try:
                cells[index] = refine(cell, wanted, materials, symmetry=symmetry, connected=connected).cell
            except NotPositiveError as error:
                print(f"note: design {index + 1} is left as it is: {error}")
    achieved = read_properties(materials.solve(cells), list(targets))
    rows = _rows(targets, achieved, cells)
    folder.write("metrics.jsonl", "")  # the same designs again are not twice as many
    for index, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        for suffix in suffixes:
            write_cell(cell, folder.path / f"design_{index + 1}.{suffix}", overwrite=True)
        folder.log(**row)
        print(
            ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            )
        )
    _report(folder, cells, rows, targets)
    return found


def sketch(
    drawing: Path,
    /,
    strain: tuple[float, float, float] = (0.01, 0.0, 0.0),
    run: Path = Path("runs/microstructure"),
    data: Path | None = None,
    ink: str = "dark",
    volume_fraction: float | None = None,
    keep_fraction: bool = False,
    unit: str = "",
    out: Path = Path("runs/sketch"),
    cleaning: SketchConfig = _CLEANING,
    training: StressTraining = _STRESS,
) -> dict[str, Any]:
    """Turn a rough drawing of a cell into a clean cell and its local stress, and check that with the solver.

    Args:
        drawing: a picture of any size; it is stretched to the sides of the model's cells.
        strain: mean strain xx, yy, xy (engineering shear) that the cell is under, without unit, plane strain.
        run: folder of a trained model of flat cells.
        data: a data set made by `generate`; needed at the first drawing only, to train what cleans and what gives the
            stress (minutes each), which the run folder then keeps.
        ink: what phase 1 is drawn as: dark (on light paper) or light.
        volume_fraction: share of phase 1 that the clean cell has.
        keep_fraction: give it the share that is inked in the drawing.
        unit: of the Young's moduli, for the labels.
        out: folder for the cell, the fields and the report; an older one is replaced.
        cleaning: training of what cleans.
        training: training of what gives the stress.
    """
    if keep_fraction and volume_fraction is not None:
        raise ValueError(f"keep_fraction: expected it or volume_fraction, got both (volume_fraction {volume_fraction})")
    # What is refused at the end is refused before the two trainings.
    under(torch.zeros(1, 3, 3, 1, 1), strain)
    cut(torch.zeros(1, 1, 1), volume_fraction)
    designer = Designer.load(run)
    model, materials = designer.model, designer.library.materials
    drawn = read_sketch(drawing, model.config.size, ink)
    cleaner, decoder = _sketch_models(run, model, materials, data, cleaning, training)
    cell = cleaner.clean(drawn[None], drawn_fraction(drawn) if keep_fraction else volume_fraction)
    started = time.perf_counter()
    with torch.no_grad():
        learned = under(decoder(model.encode(cell), cell), strain)
    middle = time.perf_counter()
    fields = elastic_response(cell.double(), materials.elastic())[1]
    assert fields is not None
    solved = under(fields.stress, strain)
    ended = time.perf_counter()
    learned = learned.double()
    found = {
        "drawing": str(drawing),
        "volume fraction": float(cell.mean()),
        "inked in the drawing": drawn_fraction(drawn),
        "mean stress xx, yy, xy": [float(v) for v in learned.mean((2, 3))[0]],
        "mean stress by the solver": [float(v) for v in solved.mean((2, 3))[0]],
        "error of the stress": float(relative_error(learned, solved)[0]),
        "milliseconds": 1e3 * (middle - started),
        "milliseconds of the solver": 1e3 * (ended - middle),
    }
    if not is_main_process():  # several share the two trainings; one draws and writes
        return found
    print(", ".join(f"{name} {_shown(value)}" for name, value in found.items()))
    unusual = float(Familiarity.of(model, designer.library.cells[:1000])(cell)[0])
    if unusual > 1:
        print(f"note: the cell is unlike those trained on ({unusual:.1f} times the usual distance); trust the solver")
    folder = RunFolder(out, {"kind": "sketch"}, cleaning.seed)
    for name in ("clean.png", "clean.h5"):
        write_cell(cell[0], folder.path / name, overwrite=True)
    _write_stress(folder.path / "stress.h5", drawn, cell[0], learned[0], solved[0], strain, unit)
    folder.log(**found)
    fields_shown = [von_mises(stress, cell, materials.elastic())[0] for stress in (learned, solved)]
    report = Report("From a sketch to its stress", f"{drawing}, under the mean strain {strain} (xx, yy, xy).")
    report.table([{"what": name, "value": _shown(value)} for name, value in found.items()])
    figure = stress_picture(drawn, cell[0], fields_shown[0], fields_shown[1], unit)
    report.picture(folder.figure("stress", figure), "Drawing, clean cell, von Mises stress learned and solved")
    folder.write("report.html", report.html())
    print(f"{folder.path}: clean.png (phase 1 white), clean.h5, stress.h5, figures/stress.png, report.html")
    return found


def _sketch_models(
    run: Path,
    model: Janus,
    materials: Materials,
    data: Path | None,
    cleaning: SketchConfig,
    training: StressTraining,
) -> tuple[SketchCleaner, StressDecoder]:
    """The two models beside a Janus; what the run folder has not got is trained if there are data."""
    phases = materials.elastic()
    kept = run / "sketch" / "cleaner.json", run / "stress" / "stress.json"
    cleaner, decoder = None, None
    if data is not None and not all(file.exists() for file in kept):
        found = read_data(data)
        if found.config.materials.elastic() != phases:
            raise ValueError(f"{data}: expected cells of {phases}, got {found.config.materials.elastic()}")
        rows = split(found, _TRAINING.held_out)[0]
        cells = found.cells[: rows.stop]
        if not kept[0].exists():
            cleaner = train_cleaner(cells, model, cleaning, run=RunFolder(run / "sketch", cleaning, cleaning.seed))
        if not kept[1].exists():
            config = StressConfig(model.config.latent, materials.young or (0.0, 0.0), materials.poisson)
            settings = {"model": dataclasses.asdict(config), "training": dataclasses.asdict(training)}
            folder = RunFolder(run / "stress", settings, training.seed)
            decoder = train_stress(cells, model, config, training, run=folder)
    # What was trained just now may not be written yet where another process writes it.
    cleaner = cleaner or SketchCleaner.load(run / "sketch", model)
    decoder = decoder or StressDecoder.load(run / "stress")
    if decoder.config.materials() != phases or decoder.config.latent != model.config.latent:
        raise ValueError(
            f"{run}/stress: expected a decoder of {phases}, got {decoder.config}; remove it and train again"
        )
    return cleaner, decoder


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{v:.4g}" for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_stress(
    path: Path, drawn: Tensor, cell: Tensor, learned: Tensor, solved: Tensor, strain: tuple[float, ...], unit: str
) -> None:
    """Fields as HDF5; the file replaces an older one only when it is complete."""
    with replacing(path) as temporary, writing_hdf5(temporary) as file:
        for name, values in (("drawing", drawn), ("cell", cell.byte()), ("stress", learned), ("stress_solver", solved)):
            file[name] = values.numpy()
        file.attrs["strain"] = strain
        file.attrs["components"] = "xx, yy, xy along the first axis of stress; axes of a field are x, y"
        file.attrs["units"] = unit or "that of the Young's moduli"


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
