"""Processes that find what torchrun would have told them, forked from one that has torch imported.

For programs of their own, started by a test with `run_program`: pytest's process has threads, which no fork keeps.
"""

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_program(text: str, folder: Path, seconds: float = 900) -> None:
    """Run a program in a folder; its errors are the test's."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr


def ranks(count: int, work: Callable[[], object], stopped: bool = False) -> None:
    """Do some work in so many processes; with ``stopped`` a training in each has to end by a signal."""
    from separable.training import TrainingInterrupted

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
            os.environ |= {name: str(value) for name, value in {**told, "MASTER_PORT": port}.items()}
            try:
                work()
            except TrainingInterrupted:
                os._exit(3)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [3 if stopped else 0] * count, ends


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", "0"))
