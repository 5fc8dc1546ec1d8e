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
it, or when it goes on after a kill. Any number of processes may make one data set, on one machine or on several that
share its folder: each block of rows belongs to whoever claims it first, and so does the joining, see
`separable.training.claims`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Sequence
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
from domains.microstructure.random_kinds import RANDOM_KINDS
from separable.atomic_files import replacing, write_first
from separable.files import read_json, refuse_bomb, refusing
from separable.hdf5 import open_hdf5, writing_hdf5
from separable.training.claims import PATIENCE, claimed, work_through

Array = NDArray[Any]
BLOCK = 64  # cells that are computed and written at a time
MIN_SPACING = 3  # voxels that a wave needs
_CLAIMS = ".claims"  # folder of a claim on each block that is being made, and on the joining
_JOIN = "join"  # name of the latter
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
        feature: least and greatest wavelength or spacing, as a share of the smallest side; of spheres the diameter,
            half a side at most. Voronoi foams do not follow it, they have the generator's own number of grains.
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
        if "radius" in options:  # there are no spheres of more than half a side
            options["radius"] = min(options["radius"], min(config.size) / 4)
        try:
            return kind, generate(kind, config.size, fraction, int(rng.integers(2**31)), **options)
        except ValueError:
            # Some draws do not exist, such as waves in a narrow cone that a small grid does not have.
            if attempt == 50:
                raise
    raise AssertionError


def generate_data(
    path: str | Path,
    config: CellDataConfig,
    *,
    processes: int = 1,
    block: int = BLOCK,
    progress: bool = True,
    patience: float = PATIENCE,
) -> Path:
    """Make a data set, or finish one that was interrupted.

    The same call in several processes, on one machine or on several that share the folder, divides the blocks. Each
    returns when the file is finished, and takes over what a process that died was making.

    Args:
        path: the HDF5 file; a finished one is left as it is.
        config: what to make.
        processes: worker processes, one thread each.
        block: cells computed and written at a time; what a kill can cost a process. The same in all, or some cells are
            made twice.
        progress: whether to show a bar with the time left.
        patience: seconds after which a process on another machine that gives no sign of life has lost its block; the
            same in all.

    Raises:
        ValueError: the file holds a data set with another configuration, something else, or is damaged; or processes
            or block are not positive.
        OSError: it cannot be written; rows that are finished stay, and the same call goes on after them.

    Example:
        >>> import tempfile
        >>> config = CellDataConfig(size=(16, 16), count=4, feature=(0.25, 0.4), materials=Materials(young=None))
        >>> len(read_data(generate_data(Path(tempfile.mkdtemp(), "cells.h5"), config, progress=False)))
        4
    """
    if processes < 1 or block < 1:
        raise ValueError(f"processes, block: expected positive numbers, got {processes}, {block}")
    making = _Making(Path(path), config, patience)
    while not making.finished():
        try:
            making.go_on(processes, block, progress)
        except FileNotFoundError:  # another process finished the file and removed the parts that we were looking at
            if not making.finished():
                raise
    shutil.rmtree(making.parts, ignore_errors=True)
    return making.path


@dataclasses.dataclass(frozen=True)
class _Making:
    """A data set that is being made, by this process and perhaps by others.

    Attributes:
        path: of the file.
        config: what it holds.
        patience: of the claims.
    """

    path: Path
    config: CellDataConfig
    patience: float

    @property
    def parts(self) -> Path:
        """The folder of the rows that are finished and not yet in the file, and of the claims."""
        return self.path.with_name(f".{self.path.name}.parts")

    def finished(self) -> bool:
        """Whether all rows are in the file."""
        return bool(_rows_in(self.path, self.config).all())

    def done(self) -> Array:
        """Which rows are finished; parts before the file, into which they move."""
        return _rows_in_parts(self.parts, self.config) | _rows_in(self.path, self.config)

    def go_on(self, processes: int, block: int, progress: bool) -> None:
        """Make the rows that are missing and put all into the file."""
        _describe(self.parts, self.config)
        done = self.done()
        starts = range(0, self.config.count, block)
        blocks = [range(start, min(start + block, self.config.count)) for start in starts]
        missing = [rows for rows in blocks if not done[rows.start : rows.stop].all()]
        try:
            with tqdm(total=self.config.count, initial=int(done.sum()), unit="cell", disable=not progress) as bar:

                def show(waiting: bool) -> None:
                    done[:] |= _rows_in_parts(self.parts, self.config)
                    bar.n = int(done.sum())
                    bar.set_postfix_str("waiting for other processes" if waiting else "")

                work_through(missing, self.attempt, processes=processes, patience=self.patience, show=show)
                work_through([_JOIN], self.attempt_to_join, patience=self.patience, show=show)
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                self.attempt_to_join(_JOIN)
            with contextlib.suppress(OSError):
                (self.parts / _CLAIMS).rmdir()  # unless others are at work
            raise

    def attempt(self, rows: range) -> bool:
        """Make some rows if nobody else does; returns whether they are there."""
        part = self.parts / f"{rows.start}-{rows.stop}.npz"
        if part.exists():
            return True
        with claimed(self.parts / _CLAIMS / part.stem, self.patience, remove=True) as mine:
            if mine and not self.done()[rows.start : rows.stop].all():  # since we looked
                columns = _compute(self.config, rows)
                with replacing(part) as temporary, temporary.open("wb") as file:
                    np.savez(file, **dict[str, Any](columns))
            return mine

    def attempt_to_join(self, claim: str) -> bool:
        """Put the parts into the file if nobody else does; returns whether that is done."""
        with claimed(self.parts / _CLAIMS / claim, self.patience, remove=True) as mine:
            if mine and not self.finished():
                _join(self.path, self.parts, self.config)
            return mine


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


def _describe(parts: Path, config: CellDataConfig) -> None:
    """Make the folder of the parts, or refuse one with rows of other settings."""
    parts.mkdir(parents=True, exist_ok=True)
    described = parts / "config.json"
    write_first(described, config.to_json())
    if read_json(described) != json.loads(config.to_json()):
        raise ValueError(f"{parts}: expected rows of the configuration {config.to_json()}; remove the folder")


def _parts(folder: Path) -> list[tuple[range, Path]]:
    """The rows that lie beside the file, in their order."""
    files = (file for file in folder.glob("*-*.npz") if re.fullmatch(r"\d+-\d+", file.stem))
    found = [(range(*map(int, file.stem.split("-"))), file) for file in files]
    return sorted(found, key=lambda part: part[0].start)


def _rows_in_parts(folder: Path, config: CellDataConfig) -> Array:
    """Which rows lie beside the file."""
    done = np.zeros(config.count, bool)
    for rows, _ in _parts(folder):
        done[rows.start : rows.stop] = True
    return done


def _part(path: Path, rows: range, file: Any) -> dict[str, Array]:
    """Rows beside an HDF5 file that has room for them."""
    with refusing(path, "rows of a data set of cells; remove it to have them made again"):
        refuse_bomb(path)
        with np.load(path) as held:
            columns = {name: held[name] for name in held.files}
        for name in (columns.keys() | file.keys()) - {"done"}:
            wanted = file[name][rows.start : rows.stop] if name in file else None
            if wanted is None or name not in columns or columns[name].shape != (len(rows), *wanted.shape[1:]):
                raise ValueError(f"it does not hold {len(rows)} rows of {name}")
    return columns


def _join(path: Path, parts: Path, config: CellDataConfig) -> None:
    """Put rows that lie beside the file into a new one, which takes the place of the old: a kill leaves one of them.

    HDF5 itself may not be read again where its writing is cut off.
    """
    made = _parts(parts)
    if not made and path.exists():
        return
    before = _version(path)
    with replacing(path) as temporary:
        if path.exists() and path.stat().st_size and _rows_in(path, config).any():
            shutil.copyfile(path, temporary)
        with writing_hdf5(temporary, "r+" if temporary.exists() else "w") as file:
            _lay_out(file, config)
            for rows, part in made:
                for name, values in _part(part, rows, file).items():
                    file[name][rows.start : rows.stop] = values
                file["done"][rows.start : rows.stop] = True
        if _version(path) != before:  # we slept, and another process joined more than we know of
            raise FileNotFoundError(errno.ENOENT, f"{path}: another process took the joining over")
    for _, part in made:
        part.unlink(missing_ok=True)


def _version(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another one that took its place."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


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
