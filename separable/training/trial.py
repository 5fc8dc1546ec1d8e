"""A training tried before it is begun: how long a step and an evaluation take, and what memory they need.

Inside `tried`, `run_training` makes some steps of the training that it was given and one evaluation, and is left by an
exception that carries what was measured. So whatever comes before it, such as the reading of data, is that of the real
training, and nothing that would come after it is done. Nothing is written.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator

from separable.training.config import TrainingConfig

ENOUGH_STEPS, ENOUGH_SECONDS = 8, 10.0  # of a trial, after the first step; the one that is reached first


@dataclasses.dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        parameters: that are trained.
        steps: that were timed.
        step_seconds: of one, by the wall clock; the very first is not counted.
        look_seconds: of an evaluation; 0 where there are none.
        config: of the training.
    """

    parameters: int
    steps: int
    step_seconds: float
    look_seconds: float
    config: TrainingConfig

    @property
    def all_steps(self) -> float:
        """Steps of the whole training; where it is to last some minutes, as many as they would be at this speed."""
        return self.config.steps or 60 * self.config.minutes / self.step_seconds

    @property
    def looks(self) -> int:
        """Evaluations of the whole training."""
        return self.config.evaluations or math.ceil(self.all_steps / self.config.evaluate_every)

    @property
    def seconds(self) -> float:
        """Of the whole training with its evaluations."""
        return self.all_steps * self.step_seconds + self.looks * self.look_seconds


class TrainingTried(Exception):
    """Leaves a training that was only tried."""

    def __init__(self, trial: Trial) -> None:
        super().__init__("this training was only tried")
        self.trial = trial


@dataclasses.dataclass
class _Wish:
    passed_by: int


_WISH: contextvars.ContextVar[_Wish | None] = contextvars.ContextVar("wish", default=None)


def tried(begin: Callable[[], object], passed_by: int = 0) -> Trial:
    """Try a training.

    Args:
        begin: what trains, by `run_training`.
        passed_by: trainings before the one that is tried, in ``begin``; each makes one step.

    Raises:
        ValueError: there is no such training.
        And what ``begin`` raises.

    Example:
        >>> import torch
        >>> from separable.training import ShuffledRows, TrainingConfig, run_training, tried
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> rows = ShuffledRows(64, lambda places: x[places])
        >>> def begin():
        ...     run_training(torch.nn.Linear(1, 1), lambda model, batch: model(batch).square().mean(), rows,
        ...                  TrainingConfig(steps=10**6))
        >>> trial = tried(begin)
        >>> trial.parameters, trial.seconds > 1
        (2, True)
    """
    with _wished(_Wish(passed_by)):
        try:
            begin()
        except TrainingTried as left:
            return left.trial
    raise ValueError("begin: expected a training to try, and there was none")


def changed_by_trial(config: TrainingConfig) -> TrainingConfig | None:
    """The config of a training that a trial passes by; None for the one that is tried, and as it is where none is."""
    wish = _WISH.get()
    if wish is None:
        return config
    if wish.passed_by == 0:
        return None
    wish.passed_by -= 1
    return dataclasses.replace(config, steps=1, minutes=0.0)


def is_trial() -> bool:
    """Whether the training around is only tried."""
    return _WISH.get() is not None


@contextlib.contextmanager
def _wished(wish: _Wish) -> Iterator[None]:
    token = _WISH.set(wish)
    try:
        yield
    finally:
        _WISH.reset(token)
