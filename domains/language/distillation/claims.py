"""Work shared through files: which process has a folder to itself, without a server.

A claim on a folder is a file ``claim-<n>``, made by exclusive creation; the one of the greatest n holds. Its process
touches it as long as it lives. One that was not touched for some time is dead, and whoever is the first to make
``claim-<n + 1>`` takes over. Numbers are never used again, so two processes cannot take over from one dead holder; a
claim that is let go gets the time zero and counts as dead at once.

Ages are told by the file system's own clock, so machines that share one need not agree on the time. A holder also locks
its file where that can be done, so one that was asleep with its machine is not taken for dead by its neighbours. Where
locks do not reach, a process that was suspended and wakes up may find its place taken: what it writes then has to be
harmless.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

_BEATS = 8  # touches within the time after which a claim is dead


@contextlib.contextmanager
def claimed(folder: str | Path, patience: float = 120.0) -> Iterator[bool]:
    """Have a folder to oneself, if no living process has it; yields whether that is so.

    Args:
        folder: made if it is not there.
        patience: seconds without a touch after which a claim is dead; the same in all processes.

    Raises:
        ValueError: the patience is not positive.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with claimed(folder) as mine, claimed(folder) as another:
        ...     mine, another
        (True, False)
        >>> with claimed(folder) as mine:
        ...     mine
        True
    """
    if not patience > 0:
        raise ValueError(f"patience: expected seconds above 0, got {patience}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = _made(folder, patience)
    if made is None:
        yield False
        return
    claim, held = made
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(claim, patience / _BEATS, stop), daemon=True)
    beating.start()
    try:
        yield True
    finally:
        stop.set()
        beating.join()
        with contextlib.suppress(OSError):
            os.utime(claim, (0, 0))
        os.close(held)


def _made(folder: Path, patience: float) -> tuple[Path, int] | None:
    """A new claim and its open file; None where another process has one, or was quicker."""
    numbers = [int(file.name.removeprefix("claim-")) for file in folder.glob("claim-*")]
    last = max(numbers, default=-1)
    if last >= 0:
        former = folder / f"claim-{last}"
        touched = former.stat().st_mtime
        if touched and (_now(folder) - touched < patience or _locked_elsewhere(former)):
            return None
    claim = folder / f"claim-{last + 1}"
    try:
        held = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    except FileExistsError:
        return None
    _lock(held)
    os.write(held, f"{socket.gethostname()} {os.getpid()}\n".encode())
    return claim, held


def _lock(held: int) -> bool:
    """Lock an open file; whether nobody else has it locked. Where there are no locks, nobody has."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _locked_elsewhere(claim: Path) -> bool:
    held = os.open(claim, os.O_RDWR)
    try:
        return not _lock(held)
    finally:
        os.close(held)


def _now(folder: Path) -> float:
    """The time by the clock of the file system."""
    probe = folder / f".now-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    probe.touch()
    found = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return found


def _beat(claim: Path, pause: float, stop: threading.Event) -> None:
    while not stop.wait(pause):
        with contextlib.suppress(OSError):  # a file system that is away for a moment
            os.utime(claim)
