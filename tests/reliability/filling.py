"""Writes HDF5 on full disks, each time in a process of its own that is forked once everything is imported.

Run with what to write, the bytes that a file may have and a folder, any number of times; beside each folder is written
what was told, and with what code the process ended.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from domains.microstructure.images import write_cell
from domains.navigation.flights import record_flights
from domains.navigation.options import WaypointOptions
from separable.hdf5 import writing_hdf5


def write_fields(path: Path) -> None:
    with writing_hdf5(path) as file:
        for name in "abcd":
            file.create_dataset(name, (6, 5, 24, 24), "<f4", chunks=(1, 5, 24, 24))[...] = 1.0


def write_flights(path: Path) -> None:
    record_flights(path, lambda seen: seen[:, :2], WaypointOptions(time_limit=5.0), 20, noise=0.1)


WRITERS: dict[str, Callable[[Path], object]] = {
    "fields": write_fields,
    "flights": write_flights,
    "cell": lambda path: write_cell((torch.rand(64, 64, 64) > 0.5).int(), path),
}


def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind, most, folder in zip(*[iter(sys.argv[1:])] * 3, strict=True):
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(most),) * 2)
            try:
                WRITERS[kind](Path(folder) / f"{kind}.h5")
            except OSError as told:
                Path(f"{folder}.told").write_text(f"{told.errno} {told}")
            return  # and end as Python does, with what HDF5 does at the end
        Path(f"{folder}.ended").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


if __name__ == "__main__":
    main()
