"""Readers given damaged files, each in a process of its own: content that is whole, or one clear error.

A reader may refuse with ValueError or OSError that names the file, and nothing else: no crash, no hang, no memory
beyond what the file could hold, nothing executed, nothing written. What it reads has to be finite, and where the format
has a checksum it has to be what was written.
"""

import json
import os
import resource
import shutil
import signal
import sys
import threading
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tests.reliability.damage import Damage, damages

SECONDS = 20  # of work that a reader may take
WAITING = 300  # seconds that may pass, on a busy machine, and for what waits and does not work
MEMORY = 2**28  # bytes that it may take beside what it had
ROOM = 2**33  # bytes of addresses that it may ask for


@dataclass(frozen=True)
class Reader:
    """One way into the toolkit.

    Attributes:
        name: what it reads.
        make: writes a small whole file, or several, into an empty folder.
        read: reads them from the folder; returns arrays, tensors, numbers, texts, and containers of these.
        files: the files that are damaged, by their path in the folder.
        checked: those with a checksum, where no change of a bit may go unnoticed; ours of tensors all have one.
        heads: those of tensors of which the head alone is read, and so no checksum.
        writes: whether reading may write into the folder, as going on with a training does.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    files: tuple[str, ...]
    checked: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    writes: bool = False

    def __str__(self) -> str:
        return self.name

    def notices(self, name: str) -> bool:
        """Whether a changed bit in a file has to be told."""
        return name in self.checked or (name.endswith(".safetensors") and name not in self.heads)


def faults(reader: Reader, folder: Path, amount: int, seed: int = 0) -> tuple[int, list[str]]:
    """Number of damaged files that a reader was given, and what it did that it should not have.

    Args:
        reader: to try.
        folder: empty.
        amount: how many copies, see `damage.damages`.
        seed: of the damages.
    """
    whole, marker = folder / "whole", folder / "executed"
    whole.mkdir(parents=True)
    reader.make(whole)
    _write_outside(folder)
    expected = _digest(reader.read(_copy(whole, folder / "first")))
    if _digest(reader.read(_copy(whole, folder / "second"))) != expected:
        return 0, ["reads another content from the same files"]
    cases: list[tuple[str, Damage]] = []
    for place, name in enumerate(reader.files):
        content = (whole / name).read_bytes()
        # The same damage for a name in every run, another one for each.
        start = zlib.crc32(f"{reader.name}/{place}".encode()) + seed
        cases += [(name, damage) for damage in damages(content, Path(name).suffix, marker, amount, start)]
    found = []
    for (name, damage), outcome in zip(cases, _outcomes(reader, folder, cases), strict=True):
        if outcome != "refused":
            told = f"{name}: {damage.kind}"
            if not outcome.startswith("read "):
                found.append(f"{told}: {outcome}")
            elif damage.bits and reader.notices(name) and outcome != f"read {expected}":
                found.append(f"{told}: read as if it were whole")
        if marker.exists():
            return len(cases), [*found, f"{name}: {damage.kind}: code was executed"]
    return len(cases), found


def _outcomes(reader: Reader, folder: Path, cases: list[tuple[str, Damage]]) -> Iterator[str]:
    """What became of each case, from children that are replaced when they die."""
    done = 0
    while done < len(cases):
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # threads of libraries do not matter to a child that starts none
            child = os.fork()
        if child == 0:
            os.close(read)
            _child(reader, folder, cases[done:], write)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as stream:
            for line in stream:
                done += 1
                yield json.loads(line)
        status = os.waitpid(child, 0)[1]
        if done < len(cases):
            done += 1
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            hung = number in (signal.SIGALRM, signal.SIGPROF)
            yield f"took more than {SECONDS} s" if hung else f"died of signal {number}"


def _child(reader: Reader, folder: Path, cases: list[tuple[str, Damage]], write: int) -> None:
    """Read one case after the other and tell of each; never returns."""
    try:
        torch.set_num_threads(1)
        tqdm.set_lock(threading.RLock())  # a thread that watches the bars of others may have held it at the fork
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")
        for number, (name, damage) in enumerate(cases):
            copy = _copy(folder / "whole", folder / f"case-{os.getpid()}-{number}")
            (copy / name).unlink()
            (copy / name).write_bytes(damage.content)
            os.write(write, (json.dumps(_outcome(reader, copy)) + "\n").encode())
            shutil.rmtree(copy)
    except BaseException:
        os.write(write, (json.dumps(f"broke the harness: {traceback.format_exc()}") + "\n").encode())
    finally:
        os._exit(0)


def _outcome(reader: Reader, copy: Path) -> str:
    before, memory = _contents(copy), _peak()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITING)
    try:
        outcome = f"read {_digest(reader.read(copy))}"
    except (ValueError, OSError) as error:
        outcome = "refused"
        if isinstance(error, UnicodeError | json.JSONDecodeError):
            outcome = f"{type(error).__name__} leaked: {error}"
        elif copy.name not in str(error):
            outcome = f"{type(error).__name__} does not name the file: {error}{_place(error)}"
    except BaseException as error:
        outcome = f"{type(error).__name__} leaked: {error}{_place(error)}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    if _peak() - memory > MEMORY:
        outcome = f"took {(_peak() - memory) / 2**20:.0f} MiB ({outcome})"
    if not reader.writes and _contents(copy) != before:
        outcome = f"changed the folder ({outcome})"
    if outside_changed(copy.parent):
        outcome = f"wrote outside of the folder ({outcome})"
    return outcome


def _place(error: BaseException) -> str:
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "/separable/" in f.filename or "/domains/" in f.filename
    ]
    return f" [{Path(frames[-1].filename).name}:{frames[-1].lineno}]" if frames else ""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def _write_outside(folder: Path) -> None:
    """What hostile files point at; a reader that follows them would find it whole."""
    import h5py

    with h5py.File(folder / "outside.h5", "w") as file:
        file["secret"] = np.arange(10.0)
    (folder / "outside").write_bytes(b"outside")


def outside_changed(folder: Path) -> bool:
    """Whether something was written where hostile files point at."""
    return (folder / "outside").read_bytes() != b"outside"


def _digest(value: Any) -> str:
    """A number for the content, in which every number has to be finite."""
    return f"{_summed(value, 0):08x}"


def _summed(value: Any, start: int) -> int:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray | np.generic | int | float | bool):
        array = np.ascontiguousarray(value)
        if array.dtype.kind == "O":
            return _summed(array.tolist(), start)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise AssertionError(f"a number that is not finite was read, of shape {array.shape}")
        return zlib.crc32(array.tobytes(), zlib.crc32(f"{array.shape}{array.dtype}".encode(), start))
    if isinstance(value, str | bytes):
        return zlib.crc32(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"), start)
    if isinstance(value, Mapping):
        return _summed([[key, value[key]] for key in sorted(value, key=str)], start)
    if isinstance(value, list | tuple | set | frozenset):
        for part in sorted(value) if isinstance(value, set | frozenset) else value:
            start = _summed(part, start)
        return zlib.crc32(str(len(value)).encode(), start)
    if value is None:
        return zlib.crc32(b"None", start)
    raise TypeError(f"expected arrays, numbers and texts, got {type(value)}")
