"""How a training tells that it cannot go on: what happened, what to try, and which checkpoint is there."""

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch

from separable.training.config import TrainingConfig
from separable.training.run_folder import RunFolder

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def check_finite(measured: Mapping[str, float], step: int, run: RunFolder | None) -> None:
    """Refuse losses and gradients that are not numbers, before they reach the parameters.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    for name, value in measured.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name}: expected a number at step {step}, got {value}; try a smaller rate{checkpoints_kept(run)}"
            )


@contextlib.contextmanager
def memory_explained(step: int, config: TrainingConfig, processes: int, run: RunFolder | None) -> Iterator[None]:
    """Turn the many ways of being out of memory into one.

    Raises:
        MemoryError: what is inside needs more memory than there is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = str(error).lower()
        named = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
        if not named and not any(words in told for words in _NO_MEMORY):
            raise
        rows = config.batch // (processes * config.accumulation)
        raise MemoryError(
            f"memory: step {step} needs more than there is, with {rows} rows at a time; try "
            f"accumulation={2 * config.accumulation}, the same gradient in twice as many parts{checkpoints_kept(run)}"
        ) from error


def checkpoints_kept(run: RunFolder | None) -> str:
    """The end of each of these messages."""
    return "" if run is None else f"; the checkpoints in {run.path} are whole"
