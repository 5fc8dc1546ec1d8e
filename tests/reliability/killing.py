"""Jobs in processes of their own, killed at random moments and started again."""

import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - a report's, here once: a kill while a child imports it hits no work
import numpy as np
import torch
import torch._dynamo  # likewise an optimiser's
from tqdm import tqdm

from tests.reliability.job import Job


def start(action: Callable[[], object]) -> int:
    """Run something in a child; its exit status is 0 if nothing was raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads of libraries do not matter to a child with one thread
        child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            tqdm.set_lock(threading.RLock())  # a thread that watches the bars of others may have held it at the fork
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            action()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def until(file: Path, seconds: float = 120.0) -> None:
    """Wait for a file that another process makes."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} was not made"
        time.sleep(0.01)


def faults_of_killing(job: Job, folder: Path, kills: int, seed: int = 0) -> tuple[int, list[str]]:
    """How often a job was killed before it ended, and what differs from one that was not.

    Args:
        job: what is run.
        folder: an empty one.
        kills: how often to kill; where the job ends first, it is begun anew in another folder.
        seed: of the moments.
    """
    prepared = folder / "work"
    prepared.mkdir(parents=True)
    job.prepare(prepared)
    begun = time.monotonic()
    whole = _in_place(prepared, folder / "whole")
    if os.waitpid(start(lambda: job.run(prepared)), 0)[1]:
        return 0, ["failed without being killed"]
    seconds, wanted = time.monotonic() - begun, job.result(prepared)
    rng, killed, found = np.random.default_rng(seed), 0, list[str]()
    while killed < kills and not found:
        shutil.rmtree(prepared)
        shutil.copytree(whole, prepared)
        done = 0
        while True:
            child, ended = start(lambda: job.run(prepared)), False
            wait = time.monotonic() + seconds * rng.uniform(0.02, 0.7) if killed < kills else np.inf
            while not ended and time.monotonic() < wait:
                ended = os.waitpid(child, os.WNOHANG)[0] == child
                time.sleep(0.002)
            if ended:
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            try:
                now = job.done(prepared)
            except Exception as error:
                return killed, [f"after {killed} kills what is finished cannot be read: {error}"]
            if now < done:
                found.append(f"after {killed} kills {now} of {done} are left")
            done = now
        left = job.result(prepared)
        differing = [name for name in wanted.keys() | left.keys() if wanted.get(name) != left.get(name)]
        if differing:
            found.append(f"after {killed} kills {len(differing)} results differ: {sorted(differing)[:3]}")
    return killed, found


def _in_place(prepared: Path, kept: Path) -> Path:
    """A copy of what a job needs; jobs run in one place, since their records name it."""
    return Path(shutil.copytree(prepared, kept))
