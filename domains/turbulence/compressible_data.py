"""PDEBench's two-dimensional turbulence, made by our solver: a file in the layout of its compressible sets.

The file holds N samples of T frames on n_x by n_y cells, axes in the order x, y::

    density, pressure, Vx, Vy    (N, T, n_x, n_y) float32
    x-coordinate, y-coordinate   (n_x,), (n_y,) float32        centres of the cells
    t-coordinate                 (T,) float32
    attributes                   config (JSON), versions

and `readers.read_flow` reads it as it reads those of PDEBench; a name with the word ``periodic`` says that the box
repeats. Samples are made in batches, each in a part of its own below ``<file>.parts``; an interrupted run makes the
parts that are missing, and the file is joined when all are there. Any number of processes may make one file, on one
machine or on several that share its folder: each part belongs to whoever claims it first, and so does the joining, see
`separable.training.claims`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from domains.turbulence.compressible import CompressibleFlow
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import one_thread
from separable.atomic_files import replacing, write_first
from separable.files import refusing
from separable.hdf5 import open_hdf5, writing_hdf5
from separable.training.claims import PATIENCE, claimed, work_through

_CLAIMS = ".claims"  # folder of a claim on each part that is being made, and on the joining
_JOIN = "join"  # name of the latter
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
        spacing: between two frames, in the time that the mean speed of a start takes to cross the box; the first is
            at 0.
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
    path: str | Path,
    config: CompressibleDataConfig | None = None,
    *,
    progress: bool = True,
    patience: float = PATIENCE,
) -> Path:
    """Make a file, or finish one that was interrupted.

    The same call in several processes, on one machine or on several that share the folder, divides the parts. Each
    returns when the file is finished, and takes over what a process that died was making.

    Args:
        path: of the file, such as ``2D_CFD_Turb_M0.1_periodic_64.hdf5``; a finished one is left as it is.
        config: what to make.
        progress: whether to show a bar with the time left.
        patience: seconds after which a process on another machine that gives no sign of life has lost its part; the
            same in all.

    Returns:
        The path.

    Raises:
        ValueError: another file or another set is there.
        FloatingPointError: a sample became unstable.
        OSError: the disk is full or not writable; what is finished stays, and the same call goes on from there.

    Example:
        >>> import tempfile
        >>> config = CompressibleDataConfig(CompressibleFlow(mach=0.5), (12, 12), samples=1, frames=2, spacing=0.01)
        >>> generate_compressible(Path(tempfile.mkdtemp(), "gas.h5"), config, progress=False).name
        'gas.h5'
    """
    making = _Making(Path(path), config or CompressibleDataConfig(), patience)
    while not making.finished():
        try:
            making.go_on(progress)
        except FileNotFoundError:  # another process finished the file and removed the parts that we were looking at
            if not making.finished():
                raise
    shutil.rmtree(making.parts, ignore_errors=True)
    return making.path


@dataclasses.dataclass(frozen=True)
class _Making:
    """A file that is being made, by this process and perhaps by others.

    Attributes:
        path: of the file.
        config: what it holds.
        patience: of the claims.
    """

    path: Path
    config: CompressibleDataConfig
    patience: float

    @property
    def parts(self) -> Path:
        """The folder of the finished parts and of the claims."""
        return self.path.with_name(f"{self.path.name}.parts")

    @property
    def told(self) -> str:
        """The configuration as text."""
        return json.dumps(dataclasses.asdict(self.config))

    def finished(self) -> bool:
        """Whether the file is there; another one is refused."""
        if not self.path.exists():
            return False
        with open_hdf5(self.path, "a set of a gas that this program wrote") as file:
            _same(self.path, str(file.attrs.get("config", "")), self.told)
        return True

    def go_on(self, progress: bool) -> None:
        """Make the parts that are missing and join all."""
        self.parts.mkdir(parents=True, exist_ok=True)
        described = self.parts / "config.json"
        write_first(described, self.told)
        with refusing(described, "the settings of a set of a gas"):
            found = described.read_text(encoding="utf-8")
        _same(self.parts, found, self.told)
        parts = range(self.config.parts)
        try:
            with tqdm(total=len(parts), unit="part", disable=not progress) as bar:

                def show(waiting: bool) -> None:
                    bar.n = sum(_part(self.parts, index).exists() for index in parts)
                    bar.set_postfix_str("waiting for other processes" if waiting else "")

                work_through(parts, self.attempt, patience=self.patience, show=show)
                work_through([_JOIN], self.attempt_to_join, patience=self.patience, show=show)
        finally:
            with contextlib.suppress(OSError):
                (self.parts / _CLAIMS).rmdir()  # unless others are at work

    def attempt(self, index: int) -> bool:
        """Make a part if nobody else does; returns whether it is there."""
        part = _part(self.parts, index)
        if part.exists():
            return True
        with claimed(self.parts / _CLAIMS / part.stem, self.patience, remove=True) as mine:
            if mine and not part.exists() and not self.finished():  # since we looked
                frames = _solved(self.config, self.config.members(index))
                with replacing(part) as temporary:
                    _save(temporary, frames)
            return mine

    def attempt_to_join(self, claim: str) -> bool:
        """Write the file if nobody else does; returns whether it is there."""
        with claimed(self.parts / _CLAIMS / claim, self.patience, remove=True) as mine:
            if mine and not self.finished():
                whole = self.parts / "whole.h5"  # not beside the file, so that a kill leaves nothing there
                with replacing(whole) as temporary:
                    _join(temporary, self.parts, self.config, self.told)
                whole.replace(self.path)
            return mine


def _part(folder: Path, index: int) -> Path:
    return folder / f"part_{index:05d}.npy"


def _solved(config: CompressibleDataConfig, members: range) -> np.ndarray[Any, Any]:
    """Frames ``(samples, T, 4, n_y, n_x)`` float32 of some samples, on the stored cells."""
    grid = Grid(config.size, (1.0, 1.0))
    start = config.flow.random_start(grid, [(config.seed, member) for member in members])
    times = [config.spacing * frame for frame in range(config.frames)]
    with one_thread():
        found = config.flow.solve(grid, start.to(getattr(torch, config.precision)), times)
    if config.coarser > 1:  # cells are averaged as the scheme does: what is conserved
        flat = config.flow.conserved(found.flatten(0, 1))
        flat = torch.nn.functional.avg_pool2d(flat, config.coarser)
        found = config.flow.primitive(flat).unflatten(0, found.shape[:2])
    return found.float().numpy()


def _join(path: Path, parts: Path, config: CompressibleDataConfig, told: str) -> None:
    import h5py

    n_y, n_x = (n // config.coarser for n in config.size)
    with writing_hdf5(path) as file:
        shape = (config.samples, config.frames, n_x, n_y)
        held = [file.create_dataset(n, shape, "<f4", chunks=(1, config.frames, n_x, n_y)) for n in _NAMES]
        for index in range(config.parts):
            members = config.members(index)
            part = _part(parts, index)
            with refusing(part, "solved samples; delete it, and they are made again"):
                frames = np.load(part, allow_pickle=False)
                if frames.shape != (len(members), config.frames, len(_NAMES), n_y, n_x):
                    raise ValueError(f"its shape is {frames.shape}")
                if frames.dtype != np.float32 or not np.isfinite(frames).all():
                    raise ValueError(f"it holds {frames.dtype}, or numbers that are not finite")
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


def _save(path: Path, values: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, values)
