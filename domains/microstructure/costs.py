"""What the long verbs of `separable microstructure` would cost, by the verb's name and arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from domains.microstructure.commands import parse_targets
from domains.microstructure.data import BLOCK, CellDataConfig, random_cell, read_data
from domains.microstructure.design import Designer
from domains.microstructure.images import read_cell
from domains.microstructure.janus import JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.properties import property_names
from domains.microstructure.refine import NotPositiveError, refine
from domains.microstructure.sketch import SketchConfig, drawings, train_cleaner
from domains.microstructure.stress import StressConfig
from domains.microstructure.stress_training import StressTraining, solved_stress, train_stress
from domains.microstructure.train import TrainConfig, split, train_janus
from separable.records import Cost, cost_of_training, peak_memory, trial_seconds

_SOLVES = 12  # of the solver for a cell that is refined, at most
_BLOCK_SECONDS = 10.0  # that a block may take to be tried as a whole
_REFINEMENTS = 6  # designs that are refined to see how long it takes, at most
_REFINEMENTS_SECONDS = 10.0  # after which no other is tried
_DRAWINGS = 20  # that are made to see how long it takes


def generate(path: Path, config: CellDataConfig, processes: int) -> Cost:
    """Of a data set: some cells are made and solved, a whole block of them where that takes seconds.

    Cells of a block are solved together, for as many iterations as the hardest of them needs.
    """

    def trial(count: int) -> None:
        cells = torch.stack([random_cell(config, index)[1] for index in range(count)])
        config.materials.solve(cells.float())

    few, more = 2, 8
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if processes > 1 else threads)  # as the workers have
    try:
        start, each = trial_seconds(trial, few, more)
        if start + BLOCK * each < _BLOCK_SECONDS:
            few, more = BLOCK // 4, BLOCK
            start, each = trial_seconds(trial, few, more)
    finally:
        torch.set_num_threads(threads)
    memory = peak_memory()
    return Cost(
        f"measured: {few} and {more} cells here, {1000 * each:.3g} ms a cell, {processes} processes",
        (math.ceil(config.count / BLOCK) * start + config.count * each) / processes,
        memory=None if memory is None else memory * processes,
        disk=config.count * math.prod(config.size) / 8,
        notes=("Cells that are finished in the file are not made again.",) if path.exists() else (),
    )


def solve(
    images: tuple[Path, ...],
    materials: Materials,
    threshold: float | Literal["otsu"] | None,
    phase: Literal["bright", "dark"] | float,
    periodic: Literal["check", "mirror", "accept"],
    dataset: str | None,
    index: int | None,
) -> Cost:
    """Of a solution: the largest image is solved on fewer voxels, for the iterations do not grow with the grid."""
    if not images:
        raise ValueError("images: expected one file or more, got none")
    started = time.perf_counter()
    voxels, largest = [], torch.empty(0)
    for path in images:
        cell = read_cell(
            path, threshold=threshold, phase=phase, dataset=dataset, index=index, periodic=periodic
        ).float()
        voxels.append(cell.numel())
        largest = cell if cell.numel() > largest.numel() else largest
    read = time.perf_counter() - started
    tried: list[int] = []

    def trial(count: int) -> None:
        coarse = _coarser(largest, count)
        tried.append(coarse.numel())
        materials.solve(coarse[None])

    start, each = trial_seconds(trial, 2_000, 16_000, most=max(voxels))
    memory = peak_memory()
    exceeding = largest.numel() > max(tried)
    notes: tuple[str, ...] = ()
    if exceeding:
        notes = (
            "A grid that leaves the processor's cache takes longer, up to twice in proportion.",
            "Freed arrays below 32 MB may stay with the process, which then holds up to twice as much.",
        )
    return Cost(
        f"measured: {tried[0]:,} and {tried[-1]:,} voxels of the largest here, {1e6 * each:.3g} s a million voxels; "
        f"{sum(voxels):,} in {len(voxels)} images",
        read + len(voxels) * start + each * sum(voxels),
        memory=None if memory is None else memory + solver_bytes(materials, largest.ndim) * largest.numel(),
        notes=notes,
    )


def solver_bytes(materials: Materials, dimensions: int) -> int:
    """Bytes a voxel that the solvers hold at once for one cell, about: those of the one that holds most.

    Finite elements hold one load at a time, float32: c values at each of 2^d corners, those of both phases, themselves
    and their stress; c values at the nodes of six fields and twice of every load, and the Green operator. The solver
    for the flow holds fields of forces, d loads of d components, float64, and their transforms: about fourteen.
    """
    found = [0]
    for wanted, components, loads in (
        (materials.conductivities, 1, dimensions),
        (materials.young, dimensions, dimensions * (dimensions + 1) // 2),
    ):
        if wanted is not None:
            corners = 4 * components * 2**dimensions
            found.append(4 * (corners + 6 * components + 2 * loads * components + components**2 // 2))
    if materials.permeability:
        found.append(14 * 8 * dimensions**2)
    return max(found)


def _coarser(cell: Tensor, voxels: int) -> Tensor:
    """A cell of about so many voxels, each one of the cell's, evenly."""
    share = min(1.0, voxels / cell.numel()) ** (1 / cell.ndim)
    for axis, n in enumerate(cell.shape):
        kept = max(2, round(share * n))
        cell = cell.index_select(axis, torch.arange(kept) * n // kept)
    return cell


def train(data: Path, run: Path, config: TrainConfig, latent: int, width: int) -> Cost:
    """Of a training: some steps, and an evaluation of the model before it."""
    cells = read_data(data)
    names = [n for n in property_names(list(cells.columns), len(cells.config.size)) if n != "volume_fraction"]
    cells, _ = cells.where_positive(names)
    model_config = JanusConfig(cells.config.size, tuple(names), latent=latent, width=width)
    return cost_of_training(lambda: train_janus(cells, model_config, config, progress=False))


def design(
    images: tuple[Path, ...],
    target: tuple[str, ...],
    run: Path,
    volume_fraction: float | None,
    count: int,
    symmetry: str,
    connected: bool,
    refined: bool,
    out: Path,
    formats: tuple[str, ...] | None,
) -> Cost:
    """Of a design: cells are designed as they will be, some are refined, and stored cells are solved."""
    targets = parse_targets(target)
    started = time.perf_counter()
    designer = Designer.load(run)
    found = designer.design(
        targets, volume_fraction=volume_fraction, count=count, symmetry=symmetry, connected=connected
    )
    inverted = time.perf_counter() - started
    library = designer.library

    def trial(solves: int) -> None:
        for index in range(solves):
            library.materials.solve(library.cells[index % len(library.cells)][None].float())

    _, each = trial_seconds(trial, 1, 3)
    basis = f"measured: {len(found)} designs and 4 solutions of a cell here, {1000 * each:.3g} ms each"
    refining, notes = 0.0, ["Given cells are not read here; designs are made from the stored ones."] if images else []
    if refined:
        wanted = targets if volume_fraction is None else {**targets, "volume_fraction": volume_fraction}
        kept: dict[str, Any] = {"symmetry": symmetry, "connected": connected, "max_solves": _SOLVES}
        tried, refining = _refinement(
            lambda cell: refine(cell, wanted, library.materials, **kept), found.cells, most=2 * _SOLVES * each
        )
        if tried:
            basis += f"; {tried} designs refined, {1000 * refining:.3g} ms each"
        else:
            notes.append(f"Refinement is told as the most that it may need, {_SOLVES} solutions a design.")
    return Cost(
        basis,
        inverted + len(images) * each + (len(found) or count) * (each + refining),
        _size(designer.model),
        peak_memory(),
        notes=tuple(notes),
    )


def _refinement(refined: Callable[[Tensor], object], cells: Tensor, most: float) -> tuple[int, float]:
    """How many of these designs were refined to see how long that takes, and seconds for each.

    The number of solutions is known only by trying: one where the design is right, a dozen where several properties
    are wanted. Where a design may take longer than the trials together should, none is tried.
    """
    if most > _REFINEMENTS_SECONDS or not len(cells):
        return 0, most
    tried, seconds, started = 0, 0.0, time.perf_counter()
    while tried < min(_REFINEMENTS, len(cells)) and seconds < _REFINEMENTS_SECONDS:
        with contextlib.suppress(NotPositiveError):  # such a design is left as it is
            refined(cells[tried])
        tried, seconds = tried + 1, time.perf_counter() - started
    return tried, seconds / tried


def sketch(
    drawing: Path,
    strain: tuple[float, float, float],
    run: Path,
    data: Path | None,
    ink: str,
    volume_fraction: float | None,
    keep_fraction: bool,
    unit: str,
    out: Path,
    cleaning: SketchConfig,
    training: StressTraining,
) -> Cost:
    """Of a sketch: some steps of the two trainings, where the run has not got their models."""
    designer = Designer.load(run)
    model, materials = designer.model, designer.library.materials
    if (run / "sketch" / "cleaner.json").exists() and (run / "stress" / "stress.json").exists():
        return Cost("by experience: both models are trained, and one cell is solved", 10.0, memory=peak_memory())
    if data is None:
        raise ValueError(f"data: expected a data set, as {run} has no models of sketches and stress yet; got none")
    found = read_data(data)
    cells = found.cells[: split(found, TrainConfig().held_out)[0].stop]

    few = min(training.cells, 8)
    config = StressConfig(model.config.latent, materials.young or (0.0, 0.0), materials.poisson)
    started = time.perf_counter()
    drawings(cells, _DRAWINGS, cleaning.seed)
    drawn = time.perf_counter()
    fields = solved_stress(cells[:few], config.materials())
    solved = time.perf_counter()
    first = cost_of_training(
        lambda: train_cleaner(cells, model, dataclasses.replace(cleaning, drawings=_DRAWINGS), progress=False)
    )
    second = cost_of_training(
        lambda: train_stress(
            cells[:few], model, config, dataclasses.replace(training, cells=few), stress=fields, progress=False
        )
    )
    made = (drawn - started) / _DRAWINGS * cleaning.drawings
    made += (solved - drawn) / few * min(training.cells, len(cells))
    return Cost(
        f"cleaner {first.basis}; stress {second.basis}; drawings and solutions in proportion to a few",
        (first.seconds or 0) + (second.seconds or 0) + made,
        memory=peak_memory(),
    )


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
