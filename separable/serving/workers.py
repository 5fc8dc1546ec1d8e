"""Processes that compute, each with a limit of time: one that exceeds it is ended and another takes its place.

A thread cannot be stopped from outside, so a computation that hangs would hold it for good. Here every answer is
computed in a process of its own memory; the server itself only passes bytes on, and stays able to say so.
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from separable.serving.served import Operation, Refused, Served, answer

_LOG = logging.getLogger(__name__)
_START = 120.0  # seconds within which a process has to be ready
_LONGEST_PAUSE = 60.0  # seconds between attempts to start one


class Busy(RuntimeError):
    """No process became free in time."""


class TooLong(RuntimeError):
    """The computation was ended at the limit of time."""


class Failed(RuntimeError):
    """The process ended, or met an error that is not the request's."""


@dataclass(frozen=True)
class Told:
    """What the first process tells of what is served.

    Args:
        description: See `Served.describe`.
        operations: For each its summary, schemas and texts.
        page: The files of the page.
    """

    description: dict[str, Any]
    operations: dict[str, dict[str, Any]]
    page: dict[str, bytes]


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False


class Workers:
    """Processes that hold what is served.

    Args:
        load: Gives what is served; called once in every process, so it has to be importable there.
        count: Number of processes: so many requests are computed at the same time.
        seconds: Limit of time for one computation, and for the wait for a free process.

    Raises:
        OSError: The first process could not be started.
        RuntimeError: It could not load what is to be served; the message says why.
    """

    def __init__(self, load: Callable[[], Served], count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self._load, self._idle, self._all = load, queue.Queue[_Worker](), list[_Worker]()
        self._closed = threading.Event()
        first = self._start()
        self.told: Told = self._ready(first)
        self._idle.put(first)
        for _ in range(count - 1):
            threading.Thread(target=self._add, daemon=True).start()

    def ask(self, operation: str, media: str, query: Mapping[str, str], body: bytes, wanted: str) -> bytes:
        """Have one request answered; waits. See `separable.serving.served.answer` for the arguments.

        Raises:
            Refused: The request does not fit; the message says how.
            Busy: All processes are at work, or none is ready, for longer than the limit.
            TooLong: The computation exceeded the limit.
            Failed: Something else went wrong; it is in the log.
        """
        seconds = self.seconds
        try:
            worker = self._idle.get(timeout=seconds)
        except queue.Empty:
            state = f"all {ready} processes are at work" if (ready := self.ready) else "no process is ready"
            raise Busy(f"{state}; ask again") from None
        try:
            worker.connection.send((operation, media, dict(query), body, wanted))
            if not worker.connection.poll(seconds):
                raise TooLong(f"ended after {seconds:g} s; ask for less")
            state, content = worker.connection.recv()
        except (EOFError, OSError, TooLong) as ended:
            self._end(worker)
            threading.Thread(target=self._add, daemon=True).start()
            if isinstance(ended, TooLong):
                raise
            _LOG.error("a process ended while it answered %s", operation)
            raise Failed("the computation ended unexpectedly") from ended
        self._idle.put(worker)
        if state == "refused":
            raise Refused(content)
        if state == "failed":
            _LOG.error("%s failed:\n%s", operation, content)
            raise Failed("the computation failed; the server's log says how")
        found: bytes = content
        return found

    @property
    def ready(self) -> int:
        """Processes that work or wait for work; fewer than `count` while some are being replaced."""
        return sum(worker.ready for worker in list(self._all))

    @property
    def free(self) -> int:
        """Processes that wait for work."""
        return self._idle.qsize()

    def close(self) -> None:
        """End all processes."""
        self._closed.set()
        for worker in list(self._all):
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        with contextlib.suppress(ValueError):  # another thread was quicker
            self._all.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.count)
        # Pickled here, so that it is imported there only when Ctrl-C is no longer listened to: that takes seconds.
        process = context.Process(target=_work, args=(theirs, pickle.dumps(self._load), threads), daemon=True)
        with theirs:  # closed here, so that reading fails, rather than waits, when the process ends
            try:
                process.start()
            except BaseException:
                ours.close()
                raise
        worker = _Worker(process, ours)
        self._all.append(worker)
        return worker

    def _ready(self, worker: _Worker) -> Told:
        try:
            if not worker.connection.poll(_START):
                raise TimeoutError(f"nothing was loaded within {_START:g} s")
            state, content = worker.connection.recv()
        except (EOFError, OSError) as ended:
            self._end(worker)
            raise RuntimeError(f"the process that loads what is served ended: {ended}") from ended
        if state != "ready":
            self._end(worker)
            raise RuntimeError(content)
        worker.ready = True
        told: Told = content
        return told

    def _add(self) -> None:
        """One more process, in a thread of its own: importing torch takes seconds.

        Where it does not start, for want of memory or while a folder is replaced, it is tried again until the end.
        """
        pause = 1.0
        while not self._closed.is_set():
            try:
                worker = self._start()
                self._ready(worker)
            except (OSError, RuntimeError) as problem:  # OSError: no memory, files or processes left for another
                if self._closed.is_set():
                    return
                _LOG.error("a process did not start: %s", problem)
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._idle.put(worker)
            if self._closed.is_set():
                self._end(worker)
            return


def _work(connection: Connection, pickled: bytes, threads: int) -> None:
    """Answer until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends its processes itself
    try:
        # The parent pickled its own function, to do it once for all workers; no request and no file is ever unpickled.
        load: Callable[[], Served] = pickle.loads(pickled)
        served = load()
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(min(threads, torch.get_num_threads()))  # fewer where the environment says so
        operations = served.operations()
        schemas = {name: _schema(operation) for name, operation in operations.items()}
        connection.send(("ready", Told(served.describe(), schemas, dict(served.page()))))
    except Exception as problem:
        connection.send(("failed", f"{problem}"))
        return
    while True:
        try:
            name, *rest = connection.recv()
        except EOFError:
            return
        try:
            reply: tuple[str, str | bytes] = ("done", answer(operations[name], *rest))
        except Refused as refused:
            reply = ("refused", str(refused))
        except MemoryError:
            reply = ("refused", "the request takes more memory than there is; ask for less")
        except Exception:
            import traceback

            reply = ("failed", traceback.format_exc())
        connection.send(reply)


def _schema(operation: Operation) -> dict[str, Any]:
    return {
        "summary": operation.summary,
        "request": operation.request.model_json_schema(),
        "field": operation.field,
        "answers": dict(operation.answers),
        "array": operation.array,
    }
