"""Fields that stay in their files until they are asked for, and are checked when they are read.

The axes are always ``(samples, frames, n_y, n_x)``, or ``(samples, frames, n_x)`` in one dimension, whatever the order
in a file is. A source is the samples of one file; several make one array.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domains.turbulence.diagnostics import curl
from domains.turbulence.grid import Grid
from separable.files import refusing
from separable.hdf5 import open_hdf5

Array = NDArray[Any]


class Source(ABC):
    """The samples of one file. Its subclasses are final.

    Attributes:
        name: what an error calls it, a file most often.
        shape: ``(samples, frames, n_y, n_x)``.
    """

    name: str
    shape: tuple[int, ...]

    @abstractmethod
    def read(self, sample: int, start: int, stop: int) -> Array:
        """Frames ``start`` to ``stop`` of one sample, ``(stop - start, n_y, n_x)``, in any order of bytes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; the next reading opens it again."""


class ArraySource(Source):
    """An array in memory or mapped from a file, ``(samples, frames, n_y, n_x)``."""

    def __init__(self, name: str, values: Array) -> None:
        self.name, self._values = name, values
        self.shape = tuple(values.shape)

    def read(self, sample: int, start: int, stop: int) -> Array:
        """See `Source`."""
        return np.asarray(self._values[sample, start:stop])

    def close(self) -> None:
        """See `Source`; the array stays."""


class Hdf5Source(Source):
    """A dataset of an HDF5 file.

    Args:
        path: of the file; it is opened when first read, in each process anew.
        dataset: its name.
        axes: of the dataset in their order: ``sample``, ``frame``, ``y``, ``x``; ``sample`` may be missing.
        component: index along a last axis besides, as of a vector.
    """

    def __init__(self, path: Path, dataset: str, axes: Sequence[str], component: int | None = None) -> None:
        self.name, self._path, self._dataset, self._component = str(path), path, dataset, component
        self._axes = tuple(axes)
        with open_hdf5(path, "fields in HDF5") as file:
            shape, kind = file[dataset].shape, file[dataset].dtype
            if kind.kind != "f" or 0 in shape:
                raise ValueError(f"{dataset} is {shape} of {kind}, no fields")
            sizes = dict(zip(self._axes, shape, strict=component is None))
        self._space = tuple(a for a in ("y", "x") if a in sizes)
        self.shape = (sizes.get("sample", 1), sizes["frame"], *(sizes[a] for a in self._space))
        self._file: Any = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        # An open file can neither be pickled nor shared by two processes.
        return self.__dict__ | {"_file": None}

    def read(self, sample: int, start: int, stop: int) -> Array:
        """See `Source`."""
        import h5py

        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self._path, "r"), os.getpid()
        place = {"sample": sample, "frame": slice(start, stop)}
        index: list[Any] = [place.get(axis, slice(None)) for axis in self._axes]
        if self._component is not None:
            index.append(self._component)
        with refusing(self._path, "fields in HDF5"):
            values = self._file[self._dataset][tuple(index)]
        left = [axis for axis in self._axes if axis != "sample"]
        return np.asarray(values).transpose([left.index(a) for a in ("frame", *self._space)])

    def close(self) -> None:
        """See `Source`."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None


class XarraySource(Source):
    """A variable of an xarray.Dataset, with one dimension for each axis.

    Args:
        name: what an error calls it.
        variable: of the data set.
        dimensions: name of the dimension for each axis.
        store: the file, which is closed with the source; None leaves that to whoever opened the data set.
    """

    def __init__(self, name: str, variable: Any, dimensions: dict[str, str], store: Any = None) -> None:
        self.name, self._variable, self._dimensions, self._store = name, variable, dimensions, store
        self._space = tuple(a for a in ("y", "x") if a in dimensions)
        sizes = {axis: variable.sizes[dimension] for axis, dimension in dimensions.items()}
        self.shape = (sizes.get("sample", 1), sizes["frame"], *(sizes[a] for a in self._space))

    def read(self, sample: int, start: int, stop: int) -> Array:
        """See `Source`."""
        index: dict[str, Any] = {self._dimensions["frame"]: slice(start, stop)}
        if "sample" in self._dimensions:
            index[self._dimensions["sample"]] = sample
        with refusing(self.name, "fields in netCDF"):
            chosen = self._variable.isel(index)
            return np.asarray(chosen.transpose(*(self._dimensions[a] for a in ("frame", *self._space))).values)

    def close(self) -> None:
        """See `Source`; xarray opens a file again by itself."""
        if self._store is not None:
            self._store.close()


class ChosenSource(Source):
    """Some samples of fields, in the order that they are named in."""

    def __init__(self, fields: LazyFields, samples: Sequence[int]) -> None:
        self.name, self._fields, self._samples = fields.sources[0].name, fields, tuple(samples)
        self.shape = (len(self._samples), *fields.shape[1:])

    def read(self, sample: int, start: int, stop: int) -> Array:
        """See `Source`."""
        return self._fields.read(self._samples[sample], start, stop)

    def close(self) -> None:
        """See `Source`."""
        self._fields.close()


class CurlSource(Source):
    """The vorticity of a periodic velocity, whose parts are two sources."""

    def __init__(self, u: Source, v: Source, lengths: tuple[float, ...]) -> None:
        self.name, self._u, self._v = u.name, u, v
        self.shape = u.shape
        self._grid = Grid(u.shape[2:], lengths)

    def read(self, sample: int, start: int, stop: int) -> Array:
        """See `Source`."""
        parts = (source.read(sample, start, stop) for source in (self._u, self._v))
        # Half precision has no Fourier transform on a CPU, and a derivative goes beyond it.
        u, v = (torch.from_numpy(np.array(part, np.result_type(part.dtype, np.float32))) for part in parts)
        return curl(u, v, self._grid).numpy()

    def close(self) -> None:
        """See `Source`."""
        self._u.close()
        self._v.close()


class LazyFields:
    """Fields ``(samples, frames, n_y, n_x)`` of one or more sources, read where they are indexed.

    ``fields[2]``, ``fields[2, 5]``, ``fields[1:3, :10]``, ``fields[0, 0, :, 3]`` are numpy arrays; steps are those of
    slices, and every value that is read is checked to be finite.

    Args:
        sources: with the same frames and points.

    Example:
        >>> fields = LazyFields([ArraySource("mine", np.zeros((2, 5, 8, 8)))])
        >>> fields.shape, fields[1, 2:4].shape
        ((2, 5, 8, 8), (2, 8, 8))
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.shape = (sum(s.shape[0] for s in self.sources), *self.sources[0].shape[1:])
        self._ends = np.cumsum([s.shape[0] for s in self.sources])

    def __len__(self) -> int:
        return self.shape[0]

    def close(self) -> None:
        """Let go of all files; the next reading opens them again."""
        for source in self.sources:
            source.close()

    def read(self, sample: int, start: int, stop: int) -> Array:
        """Frames of one sample, ``(stop - start, n_y, n_x)``, in the type of the file, bytes in this machine's order.

        Raises:
            IndexError: there are not so many samples or frames.
            ValueError: a value is not finite; the message names file, sample and frame.
        """
        (sample,) = _positions(sample, self.shape[0], "sample")
        if not 0 <= start <= stop <= self.shape[1]:
            raise IndexError(f"frames: expected a part of the {self.shape[1]} there are, got {start} to {stop}")
        place = int(np.searchsorted(self._ends, sample, side="right"))
        source = self.sources[place]
        inside = sample - (int(self._ends[place - 1]) if place else 0)
        values = source.read(inside, start, stop)
        values = np.asarray(values, values.dtype.newbyteorder("="))  # torch takes no other
        if not np.isfinite(values).all():
            frame, *point = place_found = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            where = ", ".join(f"{axis} {n}" for axis, n in zip(("y", "x")[-len(point) :], point, strict=True))
            raise ValueError(
                f"{source.name}: sample {inside}, frame {start + frame}: {values[place_found]} at the point {where}"
            )
        return values

    def __getitem__(self, index: Any) -> Array:
        parts = index if isinstance(index, tuple) else (index,)
        parts = (*parts, *(slice(None),) * (2 - len(parts)))
        samples, frames, rest = parts[0], parts[1], parts[2:]
        chosen = _positions(samples, self.shape[0], "sample")
        wanted = _positions(frames, self.shape[1], "frame")
        low, high = (min(wanted), max(wanted) + 1) if wanted else (0, 0)
        inner = [position - low for position in wanted]
        read = [self.read(s, low, high)[inner] for s in chosen]
        values = np.stack(read) if read else np.empty((0, len(inner), *self.shape[2:]), np.float32)
        inside: tuple[Any, ...] = (slice(None), slice(None), *rest)
        values = values[inside]
        if not isinstance(frames, slice):
            values = values[:, 0]
        return values if isinstance(samples, slice) else values[0]


def _positions(index: Any, size: int, name: str) -> Sequence[int]:
    if isinstance(index, slice):
        return range(size)[index]
    try:
        return [range(size)[index]]
    except (IndexError, TypeError) as problem:
        raise IndexError(f"{name}: expected a slice or a number below {size}, got {index!r}") from problem
