"""One process at a time trains in a run folder: a lock that ends with the process, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from separable.atomic_files import remove_halves, writer


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; on systems without ``fcntl`` there is none.

    What the holder before left half-written when it was killed is removed; one that let go of the folder may still
    write what needs no lock, and is left alone while it lives.

    Raises:
        RuntimeError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RuntimeError(
                f"run: {folder} is in use by process {holder}; wait for it, or choose another folder"
            ) from None
        file.seek(0)
        before, _, let_go = file.read().partition(" ")
        if not let_go or _is_dead(before):
            remove_halves(folder, before)
        _tell(file, writer())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # of a full disk; then it counts as killed
                _tell(file, f"{writer()} let go")


def _tell(file: TextIO, holder: str) -> None:
    file.truncate(0)
    file.write(holder)
    file.flush()


def _is_dead(holder: str) -> bool:
    """Whether a process, as `writer` names it, was one of this machine that there is no more."""
    machine, _, number = holder.rpartition("-")
    if machine != writer().rpartition("-")[0] or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextlib.contextmanager
def unless_used(folder: Path) -> Iterator[bool]:
    """Whether the folder is nobody's, and this the process of several that writes; it stays so until the end."""
    if int(os.environ.get("RANK", "0")):  # of a torchrun, whose first process writes
        yield False
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(sole_user(folder))
        except RuntimeError:
            yield False
            return
        yield True
