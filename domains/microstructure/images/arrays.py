"""Arrays of numpy (.npy) and HDF5 files as cells, axis k being coordinate k; one of many cells is read alone."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from separable.files import refusing
from separable.hdf5 import open_hdf5, writing_hdf5


def read_npy(path: Path, index: int | None = None) -> NDArray[Any]:
    """The array of a .npy file, or one entry of its first axis; nothing is unpickled.

    Raises:
        ValueError: If the file holds objects or is damaged.
        IndexError: If there is no such entry.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cells.npy"
        >>> np.save(path, np.zeros((5, 8, 8)))
        >>> read_npy(path, index=4).shape
        (8, 8)
    """
    with refusing(path, "an array in npy"):
        # Mapped, so that no more is asked for than the file holds.
        values = np.lib.format.open_memmap(path, mode="r")
    return np.array(values if index is None else _entry(path, values, index))


def read_hdf5(path: Path, dataset: str | None = None, index: int | None = None) -> NDArray[Any]:
    """A data set of an HDF5 file, or one entry of its first axis.

    Args:
        path: The file.
        dataset: Path of the data set within the file; needed where several have enough axes.
        index: Entry of the first axis, which alone is read.

    Raises:
        ValueError: If there is not the one data set asked for, or the file is damaged.
        IndexError: If there is no such entry.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.h5"
        >>> write_hdf5(np.eye(4), path)
        >>> read_hdf5(path, "cell").shape
        (4, 4)
    """
    import h5py

    with open_hdf5(path, "an array in HDF5") as file:
        arrays: list[str] = []
        file.visititems(lambda name, one: arrays.append(name) if isinstance(one, h5py.Dataset) else None)
        if dataset is None:
            least = 2 if index is None else 3
            possible = [name for name in arrays if file[name].ndim >= least and file[name].dtype.kind in "buif"]
            if len(possible) != 1:
                raise ValueError(
                    f"{path}: expected one data set of at least {least} axes, got {', '.join(possible) or 'none'}; "
                    "name one as dataset"
                )
            dataset = possible[0]
        if dataset.strip("/") not in arrays:
            raise ValueError(f"{path}: has the data sets {', '.join(arrays) or 'none'}, got dataset={dataset!r}")
        values = file[dataset]
        return np.asarray(values[()] if index is None else _entry(path, values, index))


def write_hdf5(cell: NDArray[Any], path: Path, dataset: str = "cell", voxel_size: float = 1.0) -> None:
    """Write a cell as one compressed data set of unsigned bytes, with ``voxel_size`` as its attribute.

    Example:
        >>> import tempfile
        >>> write_hdf5(np.eye(4), Path(tempfile.mkdtemp()) / "cell.h5")
    """
    with writing_hdf5(path) as file:
        stored = file.create_dataset(dataset, data=cell.astype(np.uint8), compression="gzip")
        stored.attrs["voxel_size"] = voxel_size
        stored.attrs["description"] = "periodic two-phase cell: 1 is phase 1 (solid), axis k is coordinate k"


def _entry(path: Path, values: Any, index: int) -> Any:
    if not 0 <= index < len(values):
        raise IndexError(f"{path}: has the entries 0 to {len(values) - 1}, got index={index}")
    return values[index]
