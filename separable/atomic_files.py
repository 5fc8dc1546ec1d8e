"""Files that are written whole or not at all, whatever ends the process and however full the disk is."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors


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


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see `replacing`.

    Raises:
        OSError: it could not be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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


def refuse_without_room(folder: str | os.PathLike[str], size: int) -> None:
    """Before a library writes that does not get over a full disk, such as that of HDF5.

    Raises:
        OSError: fewer bytes are free there than ``size``.

    Example:
        >>> refuse_without_room(".", 1)
    """
    if (free := shutil.disk_usage(folder).free) < size:
        told = f"no space left on device: expected {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free"
        raise OSError(errno.ENOSPC, told)


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
