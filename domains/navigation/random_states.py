"""The global random numbers of Python, numpy and torch, which stable-baselines3 seeds when it builds a model."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Leave them as they were before, whatever is drawn or seeded within.

    Example:
        >>> torch.manual_seed(1).initial_seed()
        1
        >>> with random_states_kept():
        ...     _ = torch.manual_seed(7)
        >>> torch.initial_seed()
        1
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  those that are seeded
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
