"""What something long would cost, told before it starts: parameters, memory and time, measured or computed.

A training of n steps takes a + b n seconds: a for what is read and set up, b for a step. Two trials of few and of some
more steps give both numbers.
"""

import dataclasses
import sys
import time
from collections.abc import Callable

from separable.records.tables import size_of, time_of

_ENOUGH = 20.0  # seconds that trials may take


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


def trial_seconds(
    trial: Callable[[int], object], few: int = 2, more: int = 8, most: int | None = None
) -> tuple[float, float]:
    """Seconds of the start and of a step, from two trials or, where these hardly differ, from more.

    Args:
        trial: does a number of steps from the start, and leaves nothing.
        few: steps of the first trial, which also brings into memory what the second finds there.
        more: steps of the second.
        most: steps that there are; no trial has more.

    Returns:
        a and b of the head of this file; b is at most the mean over the last trial.

    Example:
        >>> start, step = trial_seconds(lambda steps: time.sleep(0.05 + 0.01 * steps))
        >>> 0.005 < step < 0.03 and start > 0.02
        True
    """
    start, step, _, _ = _tried(trial, few, more, most)
    return start, step


def _tried(
    trial: Callable[[int], object], few: int, more: int, most: int | None = None
) -> tuple[float, float, int, int]:
    """What `trial_seconds` gives, and the steps of the first and of the last trial."""
    few, more = (steps if most is None else min(steps, most) for steps in (few, more))
    first = _timed(trial, few)
    if first > _ENOUGH:  # such a step hides what comes before it, and a second trial would take too long
        return 0.0, first / few, few, few
    last = _timed(trial, more)
    spent = first + last
    while last < 1.2 * first and 3 * last + spent < _ENOUGH and more != most:
        more = 4 * more if most is None else min(4 * more, most)
        last = _timed(trial, more)
        spent += last
    step = (last - first) / (more - few) if more > few else 0.0
    if not 0 < step <= last / more:  # the start hides the steps, or the later ones take longer
        step = last / more
    return max(0.0, last - more * step), step, few, more


def cost_of_steps(
    trial: Callable[[int], object],
    steps: int,
    *,
    few: int = 2,
    more: int = 8,
    parameters: int | None = None,
    other: float = 0.0,
    what: str = "steps",
    device: str = "cpu",
) -> Cost:
    """The cost of a number of steps, measured over some of them.

    Args:
        trial: does a number of steps from the start, and leaves nothing.
        steps: in all, one or more.
        few: steps of the first trial.
        more: steps of the second.
        parameters: of the model.
        other: seconds of what the trials leave out.
        what: steps are called.
        device: where they are done.

    Example:
        >>> told = cost_of_steps(lambda steps: time.sleep(0.02 * steps), 1000)
        >>> 15 < told.seconds < 40
        True
    """
    start, step, few, more = _tried(trial, few, more, steps)
    trials = f"{few} and {more}" if more > few else f"{more}"
    return Cost(
        f"measured: {trials} {what} here, {1000 * step:.3g} ms each, {start:.2g} s before the first",
        start + other + steps * step,
        parameters,
        peak_memory(device),
    )


def cost_of_training(begin: Callable[[], object], passed_by: int = 0, device: str = "cpu") -> Cost:
    """The cost of a training by `separable.training.run_training`, measured over some of its steps.

    Args:
        begin: what trains; see `separable.training.tried`.
        passed_by: trainings before the one that is tried.
        device: where it trains.
    """
    from separable.training.trial import tried

    started = time.perf_counter()
    trial = tried(begin, passed_by)
    spent = time.perf_counter() - started
    start = max(0.0, spent - trial.steps * trial.step_seconds - trial.look_seconds)
    notes: tuple[str, ...] = ()
    if not trial.config.steps:
        notes = (f"About {trial.all_steps:,.0f} steps in the {trial.config.minutes:g} minutes asked for.",)
    return Cost(
        f"measured: {trial.steps} steps here, {1000 * trial.step_seconds:.3g} ms each; "
        f"{trial.looks} evaluations of {trial.look_seconds:.2g} s; {start:.2g} s before the first step",
        start + trial.seconds,
        trial.parameters,
        peak_memory(device),
        notes=notes,
    )


def _timed(trial: Callable[[int], object], steps: int) -> float:
    started = time.perf_counter()
    trial(steps)
    return time.perf_counter() - started


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
