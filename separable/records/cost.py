"""What something long would cost, told before it starts: parameters, memory and time, measured or computed.

A training of n steps takes a + b n seconds: a for what is read and set up, b for a step. Two trials of few and of some
more steps give both numbers.
"""

import dataclasses
import sys
import time
from collections.abc import Callable

from separable.records.tables import size_of, time_of


@dataclasses.dataclass(frozen=True)
class Cost:
    """An estimate.

    Attributes:
        basis: how it was found, for people: measured over what, or by which formula.
        seconds: that it would take; None where nothing can be said.
        parameters: of the model that it makes or uses; None where there is none.
        memory: greatest number of bytes in use at once; None where that is not known.
        disk: bytes that it would write; None where that is not known or nothing to speak of.
        notes: what else there is to know, a sentence each.
    """

    basis: str
    seconds: float | None = None
    parameters: int | None = None
    memory: float | None = None
    disk: float | None = None
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Lines for a terminal.

        Example:
            >>> print(Cost("measured over 8 steps", 90.0, 1234).text())
            parameters  1,234
            time        1.5 minutes
            basis       measured over 8 steps
        """
        told = {
            "parameters": None if self.parameters is None else f"{self.parameters:,}",
            "memory": None if self.memory is None else size_of(self.memory),
            "disk": None if self.disk is None else size_of(self.disk),
            "time": None if self.seconds is None else time_of(self.seconds),
            "basis": self.basis,
        }
        lines = [f"{name:11} {value}" for name, value in told.items() if value is not None]
        return "\n".join([*lines, *(f"note        {note}" for note in self.notes)])


def trial_seconds(trial: Callable[[int], object], few: int = 2, more: int = 8) -> tuple[float, float]:
    """Seconds of the start and of a step, from two trials.

    Args:
        trial: does a number of steps, and leaves nothing.
        few: steps of the first trial, which also brings into memory what the second finds there.
        more: steps of the second.

    Returns:
        a and b of the head of this file.

    Example:
        >>> start, step = trial_seconds(lambda steps: time.sleep(0.05 + 0.01 * steps))
        >>> 0.005 < step < 0.03 and start > 0.02
        True
    """
    found = []
    for steps in (few, more):
        started = time.perf_counter()
        trial(steps)
        found.append(time.perf_counter() - started)
    step = max(1e-9, (found[1] - found[0]) / (more - few))
    return max(0.0, found[1] - more * step), step


def peak_memory(device: str = "cpu") -> float | None:
    """Greatest number of bytes that this process has held so far, on the CPU or on a GPU; None where nobody counts."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
