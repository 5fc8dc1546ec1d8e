"""Our own data sets: shards of `domains.turbulence.data`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from domains.turbulence.data import LAYOUT, FlowDataConfig, shard_path
from domains.turbulence.readers.checks import even_spacing
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import Hdf5Source, LazyFields
from separable.files import read_json, refusing
from separable.hdf5 import open_hdf5

_SHARDS = 10**6  # that a data set may have


def shard_files(folder: Path) -> list[Path]:
    """The files of a data set.

    Raises:
        ValueError: a shard is missing.
    """
    described = read_json(folder / "dataset.json", "the configuration of a data set")
    with refusing(folder / "dataset.json", "the configuration of a data set"):
        if described.get("layout") != LAYOUT:
            raise ValueError(f"the layout is {described.get('layout')!r}, not {LAYOUT!r}")
        config = FlowDataConfig.from_json(json.dumps(described["config"]))
        if config.shards > _SHARDS:
            raise ValueError(f"{config.shards} shards are more than a folder of files holds")
    paths = [shard_path(folder, index) for index in range(config.shards)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(paths)} shards are missing, the first {missing[0]}; "
            "`separable turbulence generate` with the same settings finishes it"
        )
    return paths


def read_shard(path: Path) -> FlowData:
    """One shard.

    Raises:
        ValueError: it is not whole, or not what its configuration says.
    """
    with open_hdf5(path, "a shard of a data set") as file:
        if file.attrs["layout"] != LAYOUT:
            raise ValueError(f"{path}: expected the layout {LAYOUT!r}, got {file.attrs['layout']!r}")
        config = FlowDataConfig.from_json(file.attrs["config"])
        variable, times = str(file.attrs["variable"]), file["time"][:]
        wanted = (len(file["trajectory"]), config.frames, *config.stored_grid.shape)
        if file[variable].shape != wanted or len(times) != config.frames:
            raise ValueError(f"{path}: expected {variable} {wanted} and as many times, got {file[variable].shape}")
        even_spacing(times, "frame", str(path))
        units = {"field": str(file[variable].attrs["units"])} | {
            n: str(file[axis].attrs["units"]) for n, axis in (("length", "x"), ("time", "time"))
        }
    space = ("y", "x")[-config.grid.dimensions :]
    source = Hdf5Source(path, variable, ("sample", "frame", *space))
    return FlowData(
        LazyFields([source]),
        config.stored_grid.spacing,
        np.asarray(times, dtype=np.float64),
        units,
        (True,) * len(space),
        variable,
        {"layout": LAYOUT, "config": json.loads(config.to_json())},
    )


def check_sums(path: Path) -> None:
    """Compare the fields of a shard with their checksums.

    Raises:
        ValueError: a trajectory differs.
    """
    with open_hdf5(path, "a shard of a data set") as file:
        values = file[str(file.attrs["variable"])]
        if len(file["sha256"]) != len(values):
            raise ValueError(f"{path}: {len(values)} samples have {len(file['sha256'])} checksums")
        for sample, expected in enumerate(file["sha256"][:]):
            digest = hashlib.sha256()
            for start in range(0, values.shape[1], values.chunks[1]):
                digest.update(values[sample, start : start + values.chunks[1]].astype("<f4").tobytes())
            if digest.hexdigest() != expected.decode():
                raise ValueError(f"{path}: sample {sample} is not what was written: its checksum differs")
