"""Memory that a process keeps from one step to the next.

The allocator of the GNU C library hands large pieces back to the system once they are free. A step of training asks for
the same pieces as the one before, so that the system clears every page again, at each step:
``benchmarks/language_nanogpt.py`` tells how much of a step that is. While memory is kept, pieces are cut from one heap
that only grows; it goes back to the system at the end. Results do not depend on it.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
# Where the allocator's own thresholds come to once the largest pieces that it watches were freed, see mallopt(3).
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_lock = threading.Lock()
_users = 0


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed memory in the process until the last of those who asked for it leaves.

    It does nothing where the C library is another, or where the environment sets its allocator (``MALLOC_...``).
    """
    library = _library()
    if library is None:
        yield
        return
    _count(library, 1)
    try:
        yield
    finally:
        _count(library, -1)


def _count(library: Any, change: int) -> None:
    """One user more or less; the first and the last change the allocator."""
    global _users
    with _lock:
        before, _users = _users, _users + change
        if before == 0:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        elif _users == 0:
            for name, value in _USUAL.items():
                library.mallopt(name, value)
            library.malloc_trim(0)


def _library() -> Any:
    """The GNU C library of this process, if it is that one and nobody has set its allocator."""
    try:
        gnu = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        gnu = None
    if not gnu or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    return ctypes.CDLL(None)
