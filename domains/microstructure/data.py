"""Data sets of random two-phase cells with their properties: one HDF5 file, made in parallel, resumed where it stopped.

Layout of a file of N cells in d dimensions, V = 3 or 6 Voigt components::

    cells              (N, n_1, .., n_d) uint8    1 = phase 1, 0 = phase 0; axis k is coordinate k
    kind               (N,) text                  the generator of each cell, see `cells.KINDS`
    volume_fraction    (N,)                       share of phase 1
    conductivity       (N, d, d)                  in units of the given phase conductivities
    stiffness          (N, V, V)                  Voigt, see `elasticity`
    permeability       (N, d, d)                  voxels^2; phase 1 is the solid, phase 0 the fluid
    done               (N,) bool                  whether the row is finished
    attributes         config (JSON), phase convention, units

Row i depends on the seed and on i alone, so the file does not depend on the number of processes or of interruptions.
While it is made, finished rows lie in a folder beside it; they are joined at the end, or where an error or Ctrl-C ends
it, or when it goes on after a kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from domains.microstructure.cells import generate
from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties
from separable.files import open_hdf5, read_json, refusing, replacing, write_text
from separable.training.run_lock import sole_user

Array = NDArray[Any]
MIN_SPACING = 3  # voxels that a wave needs
_EXPECTED = "a data set of cells that no other process is writing"
_UNITS = {
    "conductivity": "unit of the phase conductivities",
    "stiffness": "unit of the phase moduli",
    "permeability": "voxel^2",
}


@dataclasses.dataclass(frozen=True)
class CellDataConfig:
    """What a data set holds.

    Attributes:
        size: voxels along each coordinate, two or three numbers.
        count: number of cells.
        kinds: generators drawn from with equal chance, see `RANDOM_KINDS`.
        volume_fraction: least and greatest share of phase 1.
        feature: least and greatest wavelength or spacing, as a share of the smallest side; Voronoi foams do
            not follow it, they have the generator's own number of grains.
        materials: the phases, and the properties to compute.
        seed: of the whole set.
    """

    size: tuple[int, ...] = (64, 64)
    count: int = 6000
    kinds: tuple[str, ...] = ("spinodal", "spinodoid", "gaussian", "overlapping_spheres", "voronoi_foam")
    volume_fraction: tuple[float, float] = (0.2, 0.8)
    feature: tuple[float, float] = (0.17, 0.4)
    materials: Materials = dataclasses.field(default_factory=Materials)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or min(self.size) < 8:
            raise ValueError(f"size: expected two or three numbers of 8 or more, got {self.size}")
        if self.count < 1:
            raise ValueError(f"count: expected a positive number, got {self.count}")
        unknown = [kind for kind in self.kinds if kind not in RANDOM_KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"kinds: expected some of {', '.join(RANDOM_KINDS)}, got {', '.join(unknown) or 'none'}")
        for name, (low, high) in (("volume_fraction", self.volume_fraction), ("feature", self.feature)):
            if not 0 < low <= high < 1:
                raise ValueError(f"{name}: expected 0 < least <= greatest < 1, got {low}, {high}")
        if self.feature[0] * min(self.size) < MIN_SPACING:
            raise ValueError(
                f"feature: expected {MIN_SPACING} voxels or more between features, got "
                f"{self.feature[0] * min(self.size):g} in a cell of {self.size}"
            )

    def to_json(self) -> str:
        """The configuration as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CellDataConfig:
        """Read what `to_json` wrote."""
        settings: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in json.loads(text).items()}
        materials = Materials.from_settings(settings.pop("materials"))
        return cls(**settings, materials=materials)


def _spinodal(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"wavelength": spacing, "bandwidth": 0.2}


def _spinodoid(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    angles = np.zeros(3)
    angles[rng.permutation(dimensions)[: rng.integers(1, dimensions + 1)]] = rng.uniform(25, 50)
    return {"wavelength": spacing, "bandwidth": 0.2, "angles": tuple(angles.tolist())}


def _gaussian(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    stretch = np.exp(rng.normal(0, 0.3, dimensions))
    return {"length": tuple((spacing / 4 * stretch).tolist()), "angle": float(rng.uniform(0, 180))}


def _spheres(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"radius": spacing / 2, "phase": int(rng.integers(2))}


def _foam(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"phase": int(rng.integers(2))}


RANDOM_KINDS: dict[str, Callable[[np.random.Generator, float, int], dict[str, Any]]] = {
    "spinodal": _spinodal,
    "spinodoid": _spinodoid,
    "gaussian": _gaussian,
    "overlapping_spheres": _spheres,
    "voronoi_foam": _foam,
}


def random_cell(config: CellDataConfig, index: int) -> tuple[str, Tensor]:
    """Kind and cell of row ``index`` of a data set.

    Example:
        >>> kind, cell = random_cell(CellDataConfig(size=(32, 32)), 3)
        >>> cell.shape
        torch.Size([32, 32])
    """
    rng = np.random.default_rng([config.seed, index])
    kind = config.kinds[rng.integers(len(config.kinds))]
    for attempt in itertools.count():
        fraction = float(rng.uniform(*config.volume_fraction))
        spacing = float(rng.uniform(*config.feature)) * min(config.size)
        options = RANDOM_KINDS[kind](rng, spacing, len(config.size))
        try:
            return kind, generate(kind, config.size, fraction, int(rng.integers(2**31)), **options)
        except ValueError:
            # Some draws do not exist, such as waves in a narrow cone that a small grid does not have.
            if attempt == 50:
                raise
    raise AssertionError


def generate_data(
    path: str | Path, config: CellDataConfig, *, processes: int = 1, block: int = 64, progress: bool = True
) -> Path:
    """Make a data set, or finish one that was interrupted.

    Args:
        path: the HDF5 file; a finished one is left as it is.
        config: what to make.
        processes: worker processes, one thread each.
        block: cells computed and written at a time; what a kill can cost a process.
        progress: whether to show a bar with the time left.

    Raises:
        ValueError: the file holds a data set with another configuration, something else, or is damaged; or processes
            or block are not positive.
        OSError: it cannot be written; rows that are finished stay, and the same call goes on after them.
        RuntimeError: another process is making this data set.
    """
    if processes < 1 or block < 1:
        raise ValueError(f"processes, block: expected positive numbers, got {processes}, {block}")
    path = Path(path)
    parts = path.with_name(f".{path.name}.parts")
    _rows_in(path, config)  # what is refused leaves no folder beside it
    parts.mkdir(parents=True, exist_ok=True)
    with sole_user(parts):
        done = _rows_in(path, config) | _rows_in_parts(parts, config)
        blocks = [range(i, min(i + block, config.count)) for i in range(0, config.count, block)]
        waiting = [rows for rows in blocks if not done[rows.start : rows.stop].all()]
        try:
            with tqdm(total=config.count, initial=int(done.sum()), unit="cell", disable=not progress) as bar:
                for rows, columns in _computed(waiting, config, processes):
                    with replacing(parts / f"{rows.start}.npz") as temporary, temporary.open("wb") as file:
                        np.savez(file, **dict[str, Any](columns))
                    bar.update(len(rows))
        except BaseException:
            with contextlib.suppress(OSError):
                _join(path, parts, config)
            raise
        _join(path, parts, config)
    shutil.rmtree(parts)
    return path


def _rows_in(path: Path, config: CellDataConfig) -> Array:
    """Which rows a file has finished; none if it is not there or empty."""
    if not path.exists():
        return np.zeros(config.count, bool)
    with open_hdf5(path, _EXPECTED) as file:
        if "config" in file.attrs:
            if file.attrs["config"] != config.to_json():
                told = f"expected the configuration {config.to_json()}, got {file.attrs['config']}"
                raise ValueError(f"{path}: {told}; choose another file")
            _check_shapes(file, config)
            return np.asarray(file["done"][:])
        if len(file):
            raise ValueError(f"{path}: expected a data set of cells or an empty file, got {', '.join(file)}")
    return np.zeros(config.count, bool)


def _rows_in_parts(parts: Path, config: CellDataConfig) -> Array:
    """Which rows lie beside the file, where a process was killed; rows of other settings are refused."""
    described = parts / "config.json"
    if described.exists() and read_json(described) != json.loads(config.to_json()):
        raise ValueError(f"{parts}: expected rows of the configuration {config.to_json()}; remove the folder")
    write_text(described, config.to_json())
    done = np.zeros(config.count, bool)
    for file in parts.glob("*.npz"):
        start = int(file.stem)
        done[start : start + len(_part(file)["volume_fraction"])] = True
    return done


def _part(file: Path) -> dict[str, Array]:
    with refusing(file, "rows of a data set of cells; remove it to have them made again"), np.load(file) as held:
        return {name: held[name] for name in held.files}


def _join(path: Path, parts: Path, config: CellDataConfig) -> None:
    """Put rows that lie beside the file into a new one, which takes the place of the old: a kill leaves one of them.

    HDF5 itself may not be read again where its writing is cut off.
    """
    import h5py

    made = sorted(parts.glob("*.npz"), key=lambda file: int(file.stem))
    if not made and path.exists():
        return
    try:
        with replacing(path) as temporary:
            if path.exists() and path.stat().st_size and _rows_in(path, config).any():
                shutil.copyfile(path, temporary)
            with h5py.File(temporary, "a") as file:
                _lay_out(file, config)
                for part in made:
                    columns, start = _part(part), int(part.stem)
                    stop = start + len(columns["volume_fraction"])
                    for name, values in columns.items():
                        file[name][start:stop] = values
                    file["done"][start:stop] = True
    except RuntimeError as error:  # HDF5 tells of a full disk in words only, at times when the file is closed
        raise OSError(f"{path}: could not be written: {error}; the rows stay in {parts}") from error
    for part in made:
        part.unlink()


def _lay_out(file: Any, config: CellDataConfig) -> None:
    """The arrays of an empty file."""
    import h5py

    if "config" in file.attrs:
        return
    chunk = (min(64, config.count), *config.size)
    file.create_dataset("cells", (config.count, *config.size), "u1", chunks=chunk, compression="gzip")
    # Of one length: HDF5 keeps texts of variable length in a heap, which damage can make it read for ever.
    file.create_dataset("kind", (config.count,), h5py.string_dtype("ascii", max(map(len, RANDOM_KINDS))))
    file.create_dataset("done", (config.count,), "?")
    file.create_dataset("volume_fraction", (config.count,), "f4", fillvalue=np.nan)
    for name, shape in _tensors(config).items():
        file.create_dataset(name, shape, "f4", fillvalue=np.nan).attrs["units"] = _UNITS[name]
    file.attrs["phases"] = "1 = phase 1 (solid), 0 = phase 0 (matrix or pore); axis k of a cell is coordinate k"
    file.attrs["config"] = config.to_json()


def _tensors(config: CellDataConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of the properties that are asked for."""
    dimensions, voigt = len(config.size), 3 if len(config.size) == 2 else 6
    sides = {
        "conductivity": dimensions if config.materials.conductivities else 0,
        "stiffness": voigt if config.materials.young else 0,
        "permeability": dimensions if config.materials.permeability else 0,
    }
    return {name: (config.count, side, side) for name, side in sides.items() if side}


def _check_shapes(file: Any, config: CellDataConfig) -> None:
    """Refuse a file whose arrays are not those of its configuration."""
    wanted: dict[str, tuple[int, ...]] = {"cells": (config.count, *config.size)}
    wanted |= dict.fromkeys(("done", "kind", "volume_fraction"), (config.count,)) | _tensors(config)
    for name, shape in wanted.items():
        if file[name].shape != shape:
            raise ValueError(f"{name} has the shape {file[name].shape}, its configuration says {shape}")


def _computed(
    blocks: Sequence[range], config: CellDataConfig, processes: int
) -> Iterator[tuple[range, dict[str, Array]]]:
    if processes == 1:
        for rows in blocks:
            yield rows, _compute(config, rows)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = {pool.submit(_compute, config, rows): rows for rows in blocks}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compute(config: CellDataConfig, rows: range) -> dict[str, Array]:
    kinds, cells = zip(*(random_cell(config, index) for index in rows), strict=True)
    stacked = torch.stack(cells)
    found: dict[str, Array] = {"cells": stacked.to(torch.uint8).numpy(), "kind": np.array(kinds, dtype="S")}
    for name, values in config.materials.solve(stacked.to(torch.float32)).items():
        found[name] = values.numpy()
    return found


@dataclasses.dataclass(frozen=True)
class CellData:
    """A data set in memory.

    Attributes:
        cells: ``(N, n_1, .., n_d)`` uint8.
        columns: the properties, by name, each ``(N, ..)`` float32.
        kinds: the generator of each cell.
        config: how it was made.
    """

    cells: Tensor
    columns: dict[str, Tensor]
    kinds: list[str]
    config: CellDataConfig

    def __len__(self) -> int:
        return len(self.cells)

    def where_positive(self, names: Sequence[str]) -> tuple[CellData, int]:
        """The cells whose named properties are all positive, and the number of the others.

        Models work with logarithms; a cell whose pore does not percolate has no permeability to take one of. One below
        1e-6 voxel^2 is within the solver's rounding of none; the other properties have the unit of the phases, whatever
        its size.
        """
        least = torch.tensor([1e-6 if name.startswith("permeability") else 0.0 for name in names])
        kept = (read_properties(self.columns, names) > least).all(1)
        kinds = [kind for kind, keep in zip(self.kinds, kept.tolist(), strict=True) if keep]
        columns = {name: values[kept] for name, values in self.columns.items()}
        return CellData(self.cells[kept], columns, kinds, self.config), int((~kept).sum())


def read_data(path: str | Path) -> CellData:
    """Read the finished rows of a data set.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a data set of cells, or no row is finished.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such data set; `separable microstructure generate` makes one")
    with open_hdf5(path, _EXPECTED) as file:
        if "config" not in file.attrs or "cells" not in file:
            raise ValueError(f"{path}: expected a data set of cells, got the entries {', '.join(file) or 'none'}")
        config = CellDataConfig.from_json(file.attrs["config"])
        _check_shapes(file, config)
        rows = np.flatnonzero(file["done"][:])
        if len(rows) == 0:
            raise ValueError(f"{path}: expected finished rows, got none of {len(file['done'])}")
        columns = {name: torch.from_numpy(file[name][:][rows]) for name in ("volume_fraction", *_tensors(config))}
        for name, values in columns.items():
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} has rows that are marked as finished and are not finite")
        kinds = [text.decode() for text in file["kind"][:][rows]]
        return CellData(torch.from_numpy(file["cells"][:][rows]), columns, kinds, config)
