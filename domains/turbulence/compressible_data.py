"""PDEBench's two-dimensional turbulence, made by our solver: a file in the layout of its compressible sets.

The file holds N samples of T frames on n_x by n_y cells, axes in the order x, y::

    density, pressure, Vx, Vy    (N, T, n_x, n_y) float32
    x-coordinate, y-coordinate   (n_x,), (n_y,) float32        centres of the cells
    t-coordinate                 (T,) float32
    attributes                   config (JSON), versions

and `readers.read_flow` reads it as it reads those of PDEBench; a name with the word ``periodic`` says that the box
repeats. Samples are made in batches, each in a part of its own below ``<file>.parts``; an interrupted run makes the
parts that are missing, and the file is joined when all are there.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from domains.turbulence.compressible import CompressibleFlow
from domains.turbulence.grid import Grid
from separable.files import refusing
from separable.training.run_lock import sole_user

_NAMES = ("density", "Vx", "Vy", "pressure")  # in the order of `CompressibleFlow`


@dataclasses.dataclass(frozen=True)
class CompressibleDataConfig:
    """What a file holds; by default PDEBench's recipe on fewer cells and samples.

    Attributes:
        flow: the gas and its start.
        size: cells (n_y, n_x) that are solved on, of the box [0, 1]^2.
        coarser: how many of them along each axis are averaged to one that is stored.
        samples: N.
        frames: T.
        spacing: time between two frames; the first is at 0.
        batch: samples solved together, a part of the file.
        seed: of the whole set.
        precision: of the solver, float64 or float32; the frames are float32.
    """

    flow: CompressibleFlow = dataclasses.field(default_factory=CompressibleFlow)
    size: tuple[int, int] = (64, 64)
    coarser: int = 1
    samples: int = 100
    frames: int = 21
    spacing: float = 0.05
    batch: int = 10
    seed: int = 0
    precision: Literal["float32", "float64"] = "float64"

    def __post_init__(self) -> None:
        for name in ("coarser", "samples", "frames", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        # What cannot be solved must not become the description of a file that is to be finished.
        self.flow.check_grid(Grid(self.size, (1.0, 1.0)))
        if not 0 < self.spacing < math.inf:
            raise ValueError(f"spacing: expected a time above 0, got {self.spacing}")
        if any(n % self.coarser for n in self.size):
            raise ValueError(f"coarser: expected a divisor of the cells {self.size}, got {self.coarser}")
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision: expected float32 or float64, got {self.precision!r}")

    @property
    def parts(self) -> int:
        """Number of batches."""
        return -(-self.samples // self.batch)

    def members(self, index: int) -> range:
        """The samples of a part."""
        return range(index * self.batch, min((index + 1) * self.batch, self.samples))


def generate_compressible(
    path: str | Path, config: CompressibleDataConfig | None = None, *, progress: bool = True
) -> Path:
    """Make a file, or finish one that was interrupted.

    Args:
        path: of the file, such as ``2D_CFD_Turb_M0.1_periodic_64.hdf5``; a finished one is left as it is.
        config: what to make.
        progress: whether to show a bar with the time left.

    Returns:
        The path.

    Raises:
        ValueError: another file or another set is there.
        FloatingPointError: a sample became unstable.
    """
    import h5py

    path, config = Path(path), config or CompressibleDataConfig()
    told = json.dumps(dataclasses.asdict(config))
    if path.exists():
        with h5py.File(path, "r") as file:
            _same(path, str(file.attrs.get("config", "")), told)
        return path
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    described = parts / "config.json"
    if described.exists():
        _same(parts, described.read_text(encoding="utf-8"), told)
    else:
        _written(described, lambda temporary: temporary.write_text(told, encoding="utf-8"))
    with sole_user(parts):
        for index in tqdm(range(config.parts), unit="part", disable=not progress):
            part = parts / f"part_{index:05d}.npy"
            if not part.exists():
                frames = _solved(config, config.members(index))
                _written(part, lambda temporary, made=frames: _save(temporary, made))
        _written(path, lambda temporary: _join(temporary, parts, config, told))
    shutil.rmtree(parts)
    return path


def _solved(config: CompressibleDataConfig, members: range) -> np.ndarray[Any, Any]:
    """Frames ``(samples, T, 4, n_y, n_x)`` float32 of some samples, on the stored cells."""
    grid = Grid(config.size, (1.0, 1.0))
    start = config.flow.random_start(grid, [(config.seed, member) for member in members])
    times = [config.spacing * frame for frame in range(config.frames)]
    # Two threads sum in another order, and turbulence makes other fields of it.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = config.flow.solve(grid, start.to(getattr(torch, config.precision)), times)
    finally:
        torch.set_num_threads(threads)
    if config.coarser > 1:  # cells are averaged as the scheme does: what is conserved
        flat = config.flow.conserved(found.flatten(0, 1))
        flat = torch.nn.functional.avg_pool2d(flat, config.coarser)
        found = config.flow.primitive(flat).unflatten(0, found.shape[:2])
    return found.float().numpy()


def _join(path: Path, parts: Path, config: CompressibleDataConfig, told: str) -> None:
    import h5py

    n_y, n_x = (n // config.coarser for n in config.size)
    with h5py.File(path, "w") as file:
        shape = (config.samples, config.frames, n_x, n_y)
        held = [file.create_dataset(n, shape, "<f4", chunks=(1, config.frames, n_x, n_y)) for n in _NAMES]
        for index in range(config.parts):
            members = config.members(index)
            part = parts / f"part_{index:05d}.npy"
            with refusing(part, "solved samples; delete it, and they are made again"):
                frames = np.load(part, allow_pickle=False)
                if frames.shape != (len(members), config.frames, len(_NAMES), n_y, n_x):
                    raise ValueError(f"its shape is {frames.shape}")
            for place, values in enumerate(held):
                values[members.start : members.stop] = frames[:, :, place].swapaxes(-1, -2)
        for name, n in (("x-coordinate", n_x), ("y-coordinate", n_y)):
            file[name] = ((np.arange(n) + 0.5) / n).astype("<f4")
        file["t-coordinate"] = (config.spacing * np.arange(config.frames)).astype("<f4")
        file.attrs["config"] = told
        file.attrs["versions"] = f"torch {torch.__version__}, numpy {np.__version__}, h5py {h5py.__version__}"


def _same(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise ValueError(f"{path}: it holds another set, {found or 'of an unknown making'}; choose another name")


def _written(path: Path, write: Any) -> None:
    """Write under another name, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _save(path: Path, values: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, values)
