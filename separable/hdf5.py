"""HDF5 that may be cut off, damaged or hostile, and disks that may be full.

A file is refused with one error that names it, see `files`, before HDF5's own library meets what it cannot get out of.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from separable.files import FREE, RATIO, refusing

_PIECE = 2**22  # bytes of a file that are looked at together


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str], expected: str) -> Iterator[Any]:
    """An HDF5 file for reading, of which nothing lies in other files and no array is larger than its bytes allow.

    Args:
        path: the file.
        expected: what it should hold; errors inside the ``with`` are told as `refusing` does.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, another process is writing it, or it points out of itself; also the error of what is
            done inside.
        ModuleNotFoundError: h5py is not installed.
    """
    import h5py

    with refusing(path, expected):
        _refuse_endless_heaps(path)
    with refusing(path, expected), h5py.File(path, "r") as file:
        allowed = FREE + RATIO * os.stat(path).st_size

        def outside(name: str, link: Any) -> str | None:
            return f"{name} lies in another file" if isinstance(link, h5py.ExternalLink) else None

        def impossible(name: str, item: Any) -> str | None:
            if not isinstance(item, h5py.Dataset):
                return None
            if item.external or item.is_virtual:
                return f"{name} lies in another file"
            if item.shape is not None and math.prod(item.shape) * item.dtype.itemsize > allowed:
                return f"{name} is {item.shape}, more than a file of this size holds"
            return None

        wrong = file.visititems_links(outside) or file.visititems(impossible)
        if wrong:
            raise ValueError(wrong)
        yield file


@contextlib.contextmanager
def writing_hdf5(path: str | os.PathLike[str], mode: Literal["w", "r+"] = "w") -> Iterator[Any]:
    """An HDF5 file for writing, empty with mode ``w``, or as it is with ``r+``.

    Where HDF5 itself is refused a write, by a full disk, closing the file fails, and the process crashes at its end.

    Args:
        path: the file; see `replacing` for one that is whole or absent.
        mode: ``w`` or ``r+``.

    Raises:
        OSError: the disk is full or went away; told at the end of the ``with``, the rest of which is not written.
        ModuleNotFoundError: h5py is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "field.h5"
        >>> with writing_hdf5(path) as file:
        ...     file["field"] = [1.0, 2.0]
        >>> with open_hdf5(path, "a field") as file:
        ...     file["field"][:].tolist()
        [1.0, 2.0]
    """
    import h5py

    with _Disk(path, {"w": "wb+", "r+": "rb+"}[mode]) as disk:
        try:
            with h5py.File(disk, mode) as file:
                yield file
        finally:
            if disk.refused is not None:  # and not what followed from it
                raise OSError(disk.refused.errno, f"{path}: {disk.refused.strerror}") from disk.refused


class _Disk(io.FileIO):
    """A file that keeps to itself that a write was refused, and takes no more."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.refused is None:  # a disk takes what it has room for, and refuses the next write
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.refused = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            if self.refused is None:
                return super().truncate(size)
        except OSError as error:
            self.refused = error
        return self.tell() if size is None else size


def _refuse_endless_heaps(path: str | os.PathLike[str]) -> None:
    """Raise for a heap of HDF5 whose objects do not fill it, at which its library can go round for ever.

    Heaps (GCOL) hold the texts of variable length: objects of a number (2 bytes, 0 for free space), a count (2), 4 that
    are empty, a length (8) and content up to a multiple of 8; the length of free space is all of it. In files larger
    than `FREE` none is looked for.
    """
    if os.stat(path).st_size > FREE:
        return
    mark = b"GCOL\x01\0\0\0"
    with Path(path).open("rb") as file:
        for start in itertools.count(0, _PIECE):
            file.seek(start)
            piece = file.read(_PIECE + len(mark) - 1)  # as much more as a mark across two pieces needs
            if len(piece) < len(mark):
                return
            place = piece.find(mark)
            while place >= 0:
                file.seek(start + place + len(mark))
                size = int.from_bytes(file.read(8), "little")
                _refuse_endless_heap(start + place, file.read(max(0, min(size, FREE) - 16)), size - 16)
                place = piece.find(mark, place + 1)


def _refuse_endless_heap(place: int, content: bytes, size: int) -> None:
    at = 0
    while at + 16 <= min(size, len(content)):
        length = int.from_bytes(content[at + 8 : at + 16], "little")
        free = content[at : at + 2] == b"\0\0"
        at += length if free else 16 + -(-length // 8) * 8
        if at > min(size, len(content)) or (free and length == 0):
            raise ValueError(f"the heap at byte {place} is damaged")
