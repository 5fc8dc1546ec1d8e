"""One process at a time trains in a run folder: a lock that ends with the process, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; on systems without ``fcntl`` there is none.

    Raises:
        RuntimeError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RuntimeError(
                f"run: {folder} is in use by process {holder}; wait for it, or choose another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
