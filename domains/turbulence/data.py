"""Data sets of flows: a folder of HDF5 shards, made in parallel, resumed where it stopped.

A data set is a folder with ``dataset.json``, the configuration, and ``shard_00000.h5``, .. . A shard of N trajectories
of T frames holds, and netCDF readers open it too::

    vorticity   (N, T, n_y, n_x) float32   or ``velocity`` (N, T, n_x) for Kuramoto-Sivashinsky; attribute ``units``
    time        (T,) float64               since the end of the spin-up
    y, x        (n_y,), (n_x,) float64     coordinates of the points; the far ends of the box are left out
    trajectory  (N,) int64                 number in the data set; seeds of the start and of the forcing follow from it
    sha256      (N,) text                  of the little-endian float32 bytes of a trajectory, frame by frame
    attributes  config (JSON), Conventions, box_lengths, periodic, software versions

A shard is one batch of the solver, written elsewhere and renamed when it is whole. An interrupted run computes a
part-written shard again as the same batch, so the data are the same to the last bit on one kind of machine and one
version of torch, whatever the number of processes or interruptions.

Any number of processes may make one data set, on one machine or on several that share its folder: each shard belongs to
whoever claims it first, see `separable.training.claims`. While it is made, ``.claims`` in the folder holds the claims
and what is half written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from domains.turbulence.flows import AnyFlow, KolmogorovFlow, flow_from_settings, flow_to_settings
from domains.turbulence.grid import Grid, resample
from domains.turbulence.simulate import frames_of, one_thread
from separable.atomic_files import write_first
from separable.files import read_json
from separable.hdf5 import writing_hdf5
from separable.training.claims import PATIENCE, claimed, work_through

LAYOUT = "separable flow 1"
_CLAIMS = ".claims"  # folder of a claim on each shard that is being made, with what is written of it
_FRAMES_WRITTEN = 16  # frames in a chunk of the file


@dataclasses.dataclass(frozen=True)
class FlowDataConfig:
    """What a data set of a flow holds. Units are those that the flow's parameters were given in; most have none.

    Attributes:
        flow: the equation and its parameters.
        size: points (n_y, n_x), or one number for a flow in one dimension.
        lengths: of the box (l_y, l_x), in the flow's unit of length; by default 2 pi each.
        trajectories: how many.
        frames: kept of each trajectory.
        spacing: between two frames, in the flow's unit of time.
        spin_up: what passes before the first frame, in the flow's unit of time, so that the random start is forgotten.
        step: the solver's longest, in the flow's unit of time.
        stored: points (n_y, n_x) of the stored frames; by default as many as solved on, fewer leave out small scales.
        shard: trajectories in a file, which are solved together.
        seed: of the whole set.
        precision: of the solver, float64 or float32; the frames are float32.
    """

    flow: AnyFlow = dataclasses.field(default_factory=KolmogorovFlow)
    size: tuple[int, ...] = (64, 64)
    lengths: tuple[float, ...] = ()
    trajectories: int = 64
    frames: int = 100
    spacing: float = 1.0
    spin_up: float = 50.0
    step: float = 0.0125
    stored: tuple[int, ...] = ()
    shard: int = 16
    seed: int = 0
    precision: Literal["float32", "float64"] = "float64"

    def __post_init__(self) -> None:
        grid = Grid(self.size, self.lengths)
        self.flow.linear(grid)
        self.flow.forcing(grid)
        self.flow.nonlinear(grid, torch.float64, torch.device("cpu"))
        if self.stored and (
            len(self.stored) != grid.dimensions
            or any(not 4 <= s <= n for s, n in zip(self.stored, grid.shape, strict=True))
        ):
            raise ValueError(f"stored: expected from 4 points to those solved on, {grid.shape}, got {self.stored}")
        for name in ("trajectories", "frames", "shard"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number of 1 or more, got {getattr(self, name)}")
        for name in ("spacing", "step"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a time above 0, got {getattr(self, name)}")
        if not 0 <= self.spin_up < math.inf:
            raise ValueError(f"spin_up: expected a time of 0 or more, got {self.spin_up}")
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision: expected float32 or float64, got {self.precision!r}")

    @property
    def grid(self) -> Grid:
        """The grid solved on."""
        return Grid(self.size, self.lengths)

    @property
    def stored_grid(self) -> Grid:
        """The grid of the stored frames."""
        return Grid(self.stored or self.size, self.lengths)

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.trajectories // self.shard)

    def members(self, index: int) -> range:
        """The trajectories of a shard."""
        return range(index * self.shard, min((index + 1) * self.shard, self.trajectories))

    def to_json(self) -> str:
        """The configuration as text."""
        return json.dumps(dataclasses.asdict(self) | {"flow": flow_to_settings(self.flow)})

    @classmethod
    def from_json(cls, text: str) -> FlowDataConfig:
        """Read what `to_json` wrote."""
        settings: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in json.loads(text).items()}
        return cls(**settings | {"flow": flow_from_settings(settings["flow"])})


def generate_data(
    folder: str | Path,
    config: FlowDataConfig,
    *,
    processes: int = 1,
    progress: bool = True,
    patience: float = PATIENCE,
) -> Path:
    """Make a data set, or finish one that was interrupted.

    The same call in several processes, on one machine or on several that share the folder, divides the shards. Each
    returns when all are there, and takes over those of a process that died.

    Args:
        folder: where; a finished data set is left as it is.
        config: what to make.
        processes: worker processes, one thread and one shard each.
        progress: whether to show a bar with the time left.
        patience: seconds after which a process on another machine that gives no sign of life has lost its shard; the
            same in all.

    Returns:
        The folder.

    Raises:
        ValueError: the folder holds another data set, or something else.
        FloatingPointError: a trajectory became unstable; the message says which and what to change.
        OSError: the disk is full or not writable, and what is finished stays, so that the same call goes on from
            there.

    Example:
        >>> import tempfile
        >>> config = FlowDataConfig(size=(16, 16), trajectories=2, frames=3, spin_up=0.0, shard=1)
        >>> folder = generate_data(tempfile.mkdtemp(), config, progress=False)
        >>> sorted(file.name for file in folder.iterdir())
        ['dataset.json', 'shard_00000.h5', 'shard_00001.h5']
    """
    folder = Path(folder)
    _prepare(folder, config)
    missing = _missing(folder, config)
    _check_space(folder, config, missing)
    total = config.trajectories * config.frames
    started = total - _frames(config, missing)
    try:
        with tqdm(total=total, initial=started, unit="frame", disable=not progress) as bar:

            def show(waiting: bool) -> None:
                bar.n = total - _frames(config, _missing(folder, config))
                bar.set_postfix_str("waiting for shards of other processes" if waiting else "")

            told = bar.update if processes <= 1 else None  # workers cannot reach the bar
            attempt = functools.partial(_attempt, folder, config, patience, told)
            work_through(missing, attempt, processes=processes, patience=patience, show=show)
    finally:
        _tidy(folder, config)
    return folder


def shard_path(folder: Path, index: int) -> Path:
    """The file of a shard."""
    return folder / f"shard_{index:05d}.h5"


def _prepare(folder: Path, config: FlowDataConfig) -> None:
    """Write the configuration into an empty folder, or check that it is this one."""
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / "dataset.json"
    # Listed before it is looked for: whatever another process adds comes after the description that it writes.
    there = sorted(path.name for path in folder.iterdir())
    if not described.exists():
        other = [name for name in there if not name.lstrip(".").startswith(described.name)]
        if other:
            raise ValueError(f"{folder}: expected a data set or an empty folder, got {', '.join(other[:5])}")
        write_first(described, json.dumps({"layout": LAYOUT, "config": json.loads(config.to_json())}, indent=1) + "\n")
    found = read_json(described, "the description of a data set")
    wanted = json.loads(config.to_json())
    held = found.get("config", {})
    names = sorted(wanted.keys() | held.keys())
    different = [f"{n} = {held.get(n)}, not {wanted.get(n)}" for n in names if held.get(n) != wanted.get(n)]
    if found.get("layout") != LAYOUT or different:
        begun = any(folder.glob("shard_*")) or (folder / _CLAIMS).exists()
        told = "choose another folder" if begun else "remove it, as it has no shard yet, or choose another folder"
        raise ValueError(f"{folder}: it holds another data set, with {'; '.join(different)}; {told}")


def _missing(folder: Path, config: FlowDataConfig) -> list[int]:
    return [index for index in range(config.shards) if not shard_path(folder, index).exists()]


def _frames(config: FlowDataConfig, indices: Sequence[int]) -> int:
    """Frames of some shards, of all their trajectories."""
    return sum(len(config.members(index)) for index in indices) * config.frames


def _check_space(folder: Path, config: FlowDataConfig, waiting: Sequence[int]) -> None:
    """Refuse what cannot fit: float32 of a turbulent field hardly compresses, by a tenth or so."""
    needed = 0.8 * _frames(config, waiting) * 4 * math.prod(config.stored_grid.shape)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{folder}: needs about {needed / 1e9:.3g} GB for {len(waiting)} shards, {free / 1e9:.3g} are free",
        )


def _attempt(
    folder: Path, config: FlowDataConfig, patience: float, told: Callable[[int], object] | None, index: int
) -> bool:
    """Make a shard if nobody else does, and tell the numbers of frames written; returns whether it is there."""
    path = shard_path(folder, index)
    if not path.exists():
        place = folder / _CLAIMS / path.stem
        with claimed(place, patience, remove=True) as mine:
            if mine and not path.exists():  # since we looked
                _make_shard(path, place, config, index, told)
    return path.exists()


def _tidy(folder: Path, config: FlowDataConfig) -> None:
    """Remove what was needed to make the shards; while some are missing, only what nobody uses."""
    claims = folder / _CLAIMS
    if not _missing(folder, config):
        shutil.rmtree(claims, ignore_errors=True)
    with contextlib.suppress(OSError):
        claims.rmdir()


def _make_shard(
    path: Path, place: Path, config: FlowDataConfig, index: int, told: Callable[[int], object] | None
) -> None:
    """Write a shard in a place of its own and move it to its path."""
    folder = path.parent
    temporary = place / f"{socket.gethostname()}-{os.getpid()}.h5"  # another's, if we are taken for dead, is not ours
    try:
        with one_thread():
            for frames in _write_shard(temporary, config, index):
                if told is not None:
                    told(frames)
        temporary.replace(path)
    except FloatingPointError as problem:
        members = config.members(index)
        raise FloatingPointError(f"shard {index}, trajectories {members[0]} to {members[-1]}: {problem}") from problem
    except (OSError, RuntimeError) as problem:
        if isinstance(problem, FileNotFoundError) and (folder / "dataset.json").exists():
            return  # we slept, another process took the shard over, and the place is gone
        # HDF5 tells of a full disk in words only, at times when the file is closed.
        if (
            getattr(problem, "errno", None) == errno.ENOSPC
            or "No space left" in str(problem)
            or "errno = 28" in str(problem)
        ):
            raise OSError(
                errno.ENOSPC,
                f"{path}: the disk is full. {len(list(folder.glob('shard_*.h5')))} of {config.shards} shards are "
                "finished and stay; make room and run the same again",
            ) from problem
        raise


def _write_shard(path: Path, config: FlowDataConfig, index: int) -> Iterator[int]:
    members = config.members(index)
    flow, grid, stored = config.flow, config.grid, config.stored_grid.shape
    start = flow.random_start(grid, [(config.seed, member, 0) for member in members])
    moments = [config.spin_up + config.spacing * frame for frame in range(config.frames)]
    frames = frames_of(
        flow,
        grid,
        start.to(getattr(torch, config.precision)),
        moments,
        step=config.step,
        seeds=[(config.seed, member, 1) for member in members],
    )
    next(frames)
    digests = [hashlib.sha256() for _ in members]
    with writing_hdf5(path) as file:
        values = _lay_out(file, config, members)
        block: list[np.ndarray[Any, Any]] = []
        for frame, fields in enumerate(frames):
            assert isinstance(fields, torch.Tensor)
            shown = fields if stored == grid.shape else resample(fields, stored)
            block.append(shown.numpy().astype("<f4"))
            for digest, field in zip(digests, block[-1], strict=True):
                digest.update(field.tobytes())
            if len(block) == _FRAMES_WRITTEN or frame + 1 == config.frames:
                values[:, frame + 1 - len(block) : frame + 1] = np.stack(block, 1)
                yield len(block) * len(members)
                block = []
        file["sha256"][:] = [digest.hexdigest() for digest in digests]


def _lay_out(file: Any, config: FlowDataConfig, members: range) -> Any:
    import h5py

    grid, flow = config.stored_grid, config.flow
    axes = {"time": config.spacing * np.arange(config.frames)} | {n: v.numpy() for n, v in grid.axes().items()}
    file["trajectory"] = np.array(members)
    file["trajectory"].make_scale("trajectory")
    for name, coordinates in axes.items():
        file[name] = coordinates
        file[name].make_scale(name)
        file[name].attrs["units"] = "1"
        file[name].attrs["axis"] = name[0].upper()
    shape = (len(members), config.frames, *grid.shape)
    chunk = (1, min(config.frames, _FRAMES_WRITTEN), *grid.shape)
    values = file.create_dataset(
        flow.variable, shape, "<f4", chunks=chunk, compression="gzip", compression_opts=4, shuffle=True
    )
    values.attrs["units"] = "1"
    values.attrs["long_name"] = flow.long_name
    for place, name in enumerate(("trajectory", *axes)):
        values.dims[place].attach_scale(file[name])
    file.create_dataset("sha256", (len(members),), h5py.string_dtype("ascii", 64))
    file.attrs["Conventions"] = "CF-1.11"
    file.attrs["layout"] = LAYOUT
    file.attrs["config"] = config.to_json()
    file.attrs["variable"] = flow.variable
    file.attrs["periodic"] = " ".join(grid.axes())
    file.attrs["box_lengths"] = grid.lengths
    file.attrs["about_units"] = "lengths, times and fields are in the units of the flow's parameters in config"
    file.attrs["versions"] = f"torch {torch.__version__}, numpy {np.__version__}, h5py {h5py.__version__}"
    return values
