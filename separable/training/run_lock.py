"""One process at a time trains in a run folder: a lock that ends with the process, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from separable.files import remove_halves, writer


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; on systems without ``fcntl`` there is none.

    What the holder before left half-written when it was killed is removed.

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
        remove_halves(folder, file.read())
        file.truncate(0)
        file.write(writer())
        file.flush()
        yield


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
