"""Files that may be cut off, damaged or hostile, read whole or refused with one error that names them.

What is read here is plain data (JSON), tensors (safetensors) and HDF5; nothing is executed, no name in a file leads out
of its folder, and no size in a file is believed before there are bytes for it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import math
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

FREE = 2**28  # bytes that a file of any size may ask for
_PIECE = 2**22  # bytes of a file that are looked at together
RATIO = 1100  # bytes of content to one of a file, at most; deflate reaches 1032
Module = TypeVar("Module", bound=nn.Module)


@contextlib.contextmanager
def refusing(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Tell whatever goes wrong while a file is taken apart as one error that names it.

    Args:
        path: the file or folder.
        expected: what it should have been, such as "a picture".

    Raises:
        ValueError: something inside went wrong; errors that name the path already pass unchanged.
        OSError: the system refused: no such file, no permission, no space.

    Example:
        >>> with refusing("notes.json", "notes"):
        ...     json.loads("[1, 2")
        Traceback (most recent call last):
        ValueError: notes.json: expected notes, got a damaged or other file (Expecting ',' delimiter: ...
    """
    try:
        yield
    except Exception as error:
        # HDF5 and Pillow raise OSError for what they cannot understand, without a number of the system.
        refused = isinstance(error, OSError) and error.errno is not None
        if (refused or isinstance(error, ValueError | IndexError)) and str(path) in str(error):
            raise
        if isinstance(error, OSError) and refused:
            raise OSError(error.errno, f"{path}: {error}") from error
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{path}: expected {expected}, got a damaged or other file ({kind}{error})") from error


def read_json(path: str | os.PathLike[str], expected: str = "an object in JSON", finite: bool = True) -> dict[str, Any]:
    """An object of plain data.

    Args:
        path: the file.
        expected: what it should be, for errors.
        finite: whether NaN and infinities, which Python writes and JSON does not know, are refused, and numbers too
            large for 64 bits, which Python reads as infinities.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is damaged.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "config.json"
        >>> _ = file.write_text('{"rank": 4}')
        >>> read_json(file)
        {'rank': 4}
    """
    with refusing(path, expected):
        text = Path(path).read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite_number) if finite else json.loads(text)
        if not isinstance(found, dict):
            raise TypeError(f"it holds a {type(found).__name__}")
    return found


def read_tensors(path: str | os.PathLike[str], expected: str = "tensors") -> dict[str, Tensor]:
    """The tensors of a safetensors file, in memory of their own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds numbers that are not finite.

    Example:
        >>> import tempfile, safetensors.torch
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> safetensors.torch.save_file({"weight": torch.ones(2)}, file)
        >>> read_tensors(file)
        {'weight': tensor([1., 1.])}
    """
    with refusing(path, expected), safetensors.safe_open(path, framework="pt") as file:
        # Views of the file lie unaligned, and products would round differently.
        found = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
        for name, value in found.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ArithmeticError(f"{name} holds numbers that are not finite")
    return found


def read_texts(path: str | os.PathLike[str], expected: str = "tensors") -> dict[str, str]:
    """The texts in the head of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.

    Example:
        >>> import tempfile, safetensors.torch
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> safetensors.torch.save_file({"x": torch.zeros(2)}, file, {"by": "me"})
        >>> read_texts(file)
        {'by': 'me'}
    """
    with refusing(path, expected), safetensors.safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def filled(
    path: str | os.PathLike[str], settings: Any, make: Callable[[], Module], tensors: Mapping[str, Tensor]
) -> Module:
    """A module with the parameters of a file, made only if the file holds all of them in their shapes.

    Args:
        path: of the file, for errors.
        settings: plain data that the module is made from; no whole number in it may be larger than the file's count of
            numbers, or 2^16.
        make: makes the module; called twice, first without memory for its numbers.
        tensors: of the file.

    Returns:
        The module.

    Raises:
        ValueError: the settings make no module, or one with other parameters.

    Example:
        >>> settings, tensors = {"outputs": 1}, {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
        >>> filled("linear.safetensors", settings, lambda: nn.Linear(2, settings["outputs"]), tensors)
        Linear(in_features=2, out_features=1, bias=True)
    """
    with refusing(path, "the parameters that the settings beside it describe"):
        held = sum(value.numel() for value in tensors.values())
        if (most := _largest(settings)) > max(held, 2**16):
            raise ValueError(f"the settings speak of {most}, the file holds {held} numbers")
        with torch.device("meta"):
            planned = make().state_dict()
        wanted, found = ({n: tuple(v.shape) for n, v in part.items()} for part in (planned, tensors))
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                told = f"{name} should be {wanted.get(name, 'missing')}, is {found.get(name, 'missing')}"
                raise ValueError(f"{told}; if another version wrote it, train again")
        with torch.random.fork_rng(devices=[]):  # start values are drawn and overwritten
            module = make()
        module.load_state_dict(tensors)
    return module


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"it holds {text[:20]}, which is too large a number")
    return number


def _largest(settings: Any) -> int:
    """The largest whole number in plain data."""
    if isinstance(settings, dict):
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        return max(map(_largest, settings), default=0)
    return settings if isinstance(settings, int) else 0


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write under, renamed to ``path`` when all of it is on disk; until then an older file stays what it was.

    The name lies in a folder that says whose it is, see `writer`: libraries such as safetensors put files of other
    names beside the one that they write, and what a process that was killed leaves of them can be told, and removed.

    Raises:
        OSError: it could not be written: no space, no permission; nothing is left of it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(file) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> file.read_text()
        'whole'
    """
    path = Path(path)
    own = _draft(path)
    temporary = own / path.name
    try:
        own.mkdir(exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk or a lost mount may show only now
        with contextlib.suppress(OSError):
            temporary.chmod(own.stat().st_mode & 0o666)  # safetensors lets nobody but its user read what it writes
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        kept = "the one written before is whole" if path.exists() else "there is none yet"
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(number, f"{path}: could not be written: {error}; {kept}") from error
    finally:
        shutil.rmtree(own, ignore_errors=True)


def writer() -> str:
    """The machine and number of this process, with which the names end under which it writes."""
    return f"{socket.gethostname()}-{os.getpid()}"


def remove_halves(folder: str | os.PathLike[str], holder: str) -> None:
    """Remove what a process, which has to be dead, had begun to write anywhere below a folder; see `replacing`.

    Args:
        folder: where it wrote.
        holder: the `writer` that it was; any other text is none, and removes nothing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".model.safetensors.host-123").mkdir()
        >>> remove_halves(folder, "host-123")
        >>> list(folder.iterdir())
        []
    """
    if re.fullmatch(r"[\w.-]+-\d+", holder):
        for half in list(Path(folder).rglob(f".*.{holder}")):
            shutil.rmtree(half, ignore_errors=True)
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{writer()}")


def write_together(folder: str | os.PathLike[str], contents: Mapping[str, bytes]) -> None:
    """Write files that belong together into a folder, which is made where there is none.

    All are written before any takes the place of an older one, so that a full disk leaves those that were there.

    Args:
        folder: The folder.
        contents: Of each file, by its name.

    Raises:
        OSError: one could not be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp(), "model")
        >>> write_together(folder, {"settings.json": b"{}", "weights.bin": b"12"})
        >>> sorted(file.name for file in folder.iterdir())
        ['settings.json', 'weights.bin']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for name, content in contents.items():
            stack.enter_context(replacing(folder / name)).write_bytes(content)


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a safetensors file takes them: on the CPU, without gaps."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see `replacing`.

    Raises:
        OSError: it could not be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_first(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole, unless the file is there; of several processes that try at once one does.

    Raises:
        OSError: it could not be written.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "config.json"
        >>> write_first(file, "one")
        >>> write_first(file, "two")
        >>> file.read_text()
        'one'
    """
    path = Path(path)
    if path.exists():
        return
    draft = _draft(path)
    write_text(draft, text)
    try:
        os.link(draft, path)  # which fails where there is a file, as renaming does not
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all; see `replacing`.

    Raises:
        OSError: it could not be written.
    """
    with replacing(path) as temporary:
        safetensors.torch.save_file(plain_tensors(tensors), temporary)


def member(folder: str | os.PathLike[str], name: Any) -> Path:
    """The file of a folder that an index in it names.

    Raises:
        ValueError: the name is not that of a file in this folder.

    Example:
        >>> member("tokens", "../../secret")
        Traceback (most recent call last):
        ValueError: tokens: expected the name of a file in it, got '../../secret'
    """
    if not isinstance(name, str) or not name.strip(".") or Path(name).name != name or "\0" in name:
        raise ValueError(f"{folder}: expected the name of a file in it, got {name!r}")
    return Path(folder) / name


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
