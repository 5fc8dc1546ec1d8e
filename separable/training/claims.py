"""Work shared through files: which process has a folder to itself, and who makes what, without a server.

A claim on a folder is a file ``claim-<n>``, made by exclusive creation; the one of the greatest n holds. Its process
touches it as long as it lives. One that was not touched for some time is dead, and whoever is the first to make
``claim-<n + 1>`` takes over. Numbers are never used again, so two processes cannot take over from one dead holder; a
claim that is let go gets the time zero and counts as dead at once.

Ages are told by the file system's own clock, so machines that share one need not agree on the time. A holder also locks
its file where that can be done: one that was asleep with its machine is then not taken for dead by its neighbours, and
one that was killed need not be waited for. Where locks do not reach, a process that was suspended and wakes up may find
its place taken: what it writes then has to be harmless.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

PATIENCE = 120.0  # seconds without a touch after which a claim is dead
_BEATS = 8  # touches within that time
_LOOKS = 60  # at what others make, within that time
Piece = TypeVar("Piece")


@contextlib.contextmanager
def claimed(folder: str | Path, patience: float = PATIENCE, *, remove: bool = False) -> Iterator[bool]:
    """Have a folder to oneself, if no living process has it; yields whether that is so.

    Args:
        folder: made if it is not there.
        patience: seconds without a touch after which a claim is dead; the same in all processes.
        remove: whether the folder, with whatever is in it, goes when it is let go.

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
    made = _made(folder, patience)
    if made is None:
        yield False
        return
    claim, held = made
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(claim, held, patience / _BEATS, stop), daemon=True)
    beating.start()
    try:
        yield True
    finally:
        stop.set()
        beating.join()
        if _is_last(claim, held):  # nobody took over while we slept
            if remove:
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.utime(claim, (0, 0))
        os.close(held)


def work_through(
    pieces: Iterable[Piece],
    attempt: Callable[[Piece], bool],
    *,
    processes: int = 1,
    patience: float = PATIENCE,
    show: Callable[[bool], object] = lambda waiting: None,
) -> None:
    """Make pieces of work beside other processes; returns when all are finished, whoever made them.

    Args:
        pieces: what is to be made.
        attempt: makes one that nobody else makes, which a claim tells; returns whether it is finished now.
        processes: that make pieces for this call, one thread each; with 1 it makes them itself.
        patience: of the claims.
        show: called after each piece that was found finished, with False, and before each wait for others, with True.

    Example:
        >>> made = []
        >>> work_through([1, 2], lambda piece: made.append(piece) or True)
        >>> made
        [1, 2]
    """
    left = list(pieces)
    with _workers(processes) as workers:
        while left:
            finished = set()
            for piece, ended in _attempted(left, attempt, workers):
                if ended:
                    finished.add(piece)
                    show(False)
            left = [piece for piece in left if piece not in finished]
            if not finished:
                show(True)
                time.sleep(patience / _LOOKS)


@contextlib.contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor | None]:
    if processes <= 1:
        yield None
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempted(
    pieces: Sequence[Piece], attempt: Callable[[Piece], bool], workers: ProcessPoolExecutor | None
) -> Iterator[tuple[Piece, bool]]:
    if workers is None:
        for piece in pieces:
            yield piece, attempt(piece)
        return
    begun = {workers.submit(attempt, piece): piece for piece in pieces}
    for future in as_completed(begun):
        yield begun[future], future.result()


def _made(folder: Path, patience: float) -> tuple[Path, int] | None:
    """A new claim and its open file; None where another process has one, or was quicker."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        last = _last(folder)
        if last >= 0 and _alive(folder / f"claim-{last}", patience):
            return None
        claim = folder / f"claim-{last + 1}"
        held = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    except (FileExistsError, FileNotFoundError):  # or its work is done, and the folder was removed meanwhile
        return None
    machine = _machine() if _lock(held) else "-"
    with contextlib.suppress(OSError):  # it only helps others; a full disk is told by the work itself
        os.write(held, f"{socket.gethostname()} {os.getpid()} {machine}\n".encode())
    return claim, held


def _last(folder: Path) -> int:
    """The greatest number of a claim, -1 where there is none."""
    numbers = (file.name.removeprefix("claim-") for file in folder.glob("claim-*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=-1)


def _is_last(claim: Path, held: int) -> bool:
    """Whether an open file is still the claim that holds."""
    with contextlib.suppress(OSError):
        return _last(claim.parent) == int(claim.name.removeprefix("claim-")) and _is_open(claim, held)
    return False


def _is_open(claim: Path, held: int) -> bool:
    return os.path.samestat(claim.stat(), os.fstat(held))


def _alive(claim: Path, patience: float) -> bool:
    touched = claim.stat().st_mtime
    if not touched:
        return False
    if claim.read_text(encoding="utf-8", errors="replace").split()[::2] == [socket.gethostname(), _machine()]:
        return _locked_elsewhere(claim)  # as it was locked on this machine, where the lock ends with its process
    return _now(claim.parent) - touched < patience or _locked_elsewhere(claim)


@functools.cache
def _machine() -> str:
    """What tells a machine, as it runs since its last start, from others of the same name."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return "this"


def _lock(held: int) -> bool:
    """Lock an open file; whether it is locked now."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _locked_elsewhere(claim: Path) -> bool:
    """Whether another process has a claim locked; where there are no locks, none has."""
    try:
        import fcntl
    except ImportError:
        return False
    held = os.open(claim, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(held)
    return False


def _now(folder: Path) -> float:
    """The time by the clock of the file system."""
    probe = folder / f".now-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    probe.touch()
    found = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return found


def _beat(claim: Path, held: int, pause: float, stop: threading.Event) -> None:
    while not stop.wait(pause):
        with contextlib.suppress(OSError):  # a file system that is away for a moment
            if _is_open(claim, held):  # not that of another process in a folder that was removed and made again
                os.utime(claim)
