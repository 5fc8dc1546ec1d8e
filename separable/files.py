"""Files that may be cut off, damaged or hostile, read whole or refused with one error that names them.

What is read here is plain data (JSON) and tensors (safetensors), and `hdf5` reads HDF5; nothing is executed, no name in
a file leads out of its folder, and no size in a file is believed before there are bytes for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from separable.atomic_files import replacing

FREE = 2**28  # bytes that a file of any size may ask for
RATIO = 1100  # bytes of content to one of a file, at most; deflate reaches 1032
_CHECKSUM = "checksum"
_NO_SIZES = ("seed", "rotary_base", "chunk_size")  # settings whose number says nothing of the memory that is needed
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

    Returns:
        The object, without the checksum that `checked_text` has put into it, if there is one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is damaged; also, that its checksum is another.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "config.json"
        >>> _ = file.write_text('{"rank": 4}')
        >>> read_json(file)
        {'rank': 4}
    """
    with refusing(path, expected):
        return _parsed(path, finite)[0]


def checked_text(facts: Mapping[str, Any]) -> str:
    """Plain data as JSON that names its checksum, for `read_json`, or for `read_checked_json`, which insists on it."""
    plain = json.loads(json.dumps(facts))
    return json.dumps({**plain, _CHECKSUM: _checksum(plain)}, indent=2)


def read_checked_json(path: str | os.PathLike[str], expected: str) -> dict[str, Any]:
    """An object of `checked_text`, whose numbers are those that were written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, no checksum, or is damaged.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "scores.json"
        >>> _ = file.write_text(checked_text({"loss": 4.25}))
        >>> read_checked_json(file, "scores")
        {'loss': 4.25}
        >>> _ = file.write_text(file.read_text().replace("4.25", "4.15"))
        >>> read_checked_json(file, "scores")
        Traceback (most recent call last):
        ValueError: ...scores.json: expected scores, got a damaged or other file (its checksum is another)
    """
    with refusing(path, expected):
        facts, checked = _parsed(path, finite=False)
        if not checked:
            raise ValueError("it has no checksum")
    return facts


def read_tensors(path: str | os.PathLike[str], expected: str = "tensors", finite: bool = True) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in memory of their own.

    Args:
        path: the file.
        expected: what it should be, for errors.
        finite: whether NaN and infinities are refused. Those of a file without a checksum always are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds numbers that are not finite, or others than `write_tensors` was given, whose
            checksum stands in its head; files of other programs have none.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> write_tensors(file, {"weight": torch.ones(2)})
        >>> read_tensors(file)
        {'weight': tensor([1., 1.])}
    """
    with refusing(path, expected), safetensors.safe_open(path, framework="pt") as file:
        # Views of the file lie unaligned, and products would round differently.
        found = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
        texts = file.metadata() or {}
        checksum = texts.pop(_CHECKSUM, None)
        if finite or checksum is None:
            for name, value in found.items():
                if value.is_floating_point() and not _is_finite(value):
                    raise ArithmeticError(f"{name} holds numbers that are not finite")
        if checksum is not None and checksum != _checksum_of_tensors(found, texts):
            raise ValueError("its checksum is another")
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
        settings: plain data that the module is made from; no whole number in it that is a size may be larger than the
            file's count of numbers, or 2^16.
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


def _parsed(path: str | os.PathLike[str], finite: bool) -> tuple[dict[str, Any], bool]:
    """The object in a file without its checksum, and whether it had one, which then is right."""
    text = Path(path).read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=_no_number, parse_float=_finite_number) if finite else json.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"it holds a {type(found).__name__}")
    checked = _CHECKSUM in found
    if checked and found.pop(_CHECKSUM) != _checksum(found):
        raise ValueError("its checksum is another")
    return found, checked


def _checksum(facts: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(facts, sort_keys=True).encode()):08x}"


def _checksum_of_tensors(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    found = 0
    for _, text in sorted(texts.items()):
        found = zlib.crc32(text.encode(), found)
    for name in sorted(tensors):
        value = tensors[name]
        found = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _is_finite(value: Tensor) -> bool:
    wide = value.float() if value.itemsize == 1 else value  # torch cannot tell of eight bits
    return bool(torch.isfinite(wide).all())


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"it holds {text[:20]}, which is too large a number")
    return number


def _largest(settings: Any) -> int:
    """The largest whole number in plain data that may be a size."""
    if isinstance(settings, dict):
        settings = [value for name, value in settings.items() if name not in _NO_SIZES]
    if isinstance(settings, list | tuple):
        return max(map(_largest, settings), default=0)
    return settings if isinstance(settings, int) else 0


def refuse_bomb(path: str | os.PathLike[str]) -> None:
    """Before a zip file that was written without compression, such as numpy's ``.npz``, is unpacked.

    Raises:
        ValueError: what it holds is larger than itself.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> file = Path(tempfile.mkdtemp()) / "rows.npz"
        >>> np.savez(file, x=np.zeros(9))
        >>> refuse_bomb(file)
    """
    with zipfile.ZipFile(path) as held:
        if sum(entry.file_size for entry in held.infolist()) > os.stat(path).st_size:
            raise ValueError("its entries unpack to more than the file")


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a safetensors file takes them: on the CPU, without gaps, none in the memory of another."""
    plain: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        one = value.detach().cpu().contiguous()
        memory = one.untyped_storage().data_ptr()
        plain[name] = one.clone() if memory in taken else one
        taken.add(memory)
    return plain


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all; see `replacing`.

    Args:
        path: the file.
        tensors: on any device.
        texts: for its head, by their names. A checksum of all stands there beside them, for `read_tensors`.

    Raises:
        OSError: it could not be written.
    """
    plain = plain_tensors(tensors)
    with replacing(path) as temporary:
        safetensors.torch.save_file(plain, temporary, _head(plain, texts or {}))


def stored_tensors(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> bytes:
    """The content of the file that `write_tensors` writes, for `write_together`."""
    plain = plain_tensors(tensors)
    return safetensors.torch.save(plain, _head(plain, texts or {}))


def _head(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, str]:
    return {**texts, _CHECKSUM: _checksum_of_tensors(tensors, texts)}


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
