"""Batches in a random order that depends on a seed alone and goes on exactly where it was left.

A stream first draws *places*, the same in every process, and then loads the rows at the places that it is asked for:
so several processes, or several parts of a step, share one order without talking to each other.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Places = Any  # something with a length and slices


class BatchStream(Protocol):
    """Where a training gets its batches from."""

    def draw(self, size: int) -> Places:
        """Places of the next ``size`` rows; the stream moves on."""

    def load(self, places: Places) -> Any:
        """The batch at some places: a tensor, or tuples, lists and dictionaries of tensors, on the CPU."""

    def state(self) -> dict[str, Any]:
        """Where the stream is, as plain data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where a stream was; refuses the state of other data."""


class ShuffledRows:
    """Rows 0 to n - 1, each once in an epoch, in an order of their own in each epoch.

    Args:
        rows: Number n of rows.
        load: Gives the batch of an array of row numbers.
        seed: Of the orders.

    Attributes:
        step: Numbers of the rows that were drawn last, of which each part of a step loads its own.

    Raises:
        ValueError: There are no rows.

    Example:
        >>> import torch
        >>> x = torch.arange(10.0)
        >>> stream = ShuffledRows(10, lambda rows: x[rows], seed=0)
        >>> len(set(stream.load(stream.draw(10)).tolist()))
        10
        >>> stream.state()["position"]
        10
    """

    def __init__(self, rows: int, load: Callable[[np.ndarray[Any, Any]], Any], seed: int = 0) -> None:
        if rows < 1:
            raise ValueError(f"rows: expected at least 1, got {rows}")
        self.rows, self.seed = operator.index(rows), operator.index(seed)  # plain, as a checkpoint holds them
        self.load = load
        self.step: np.ndarray[Any, Any] = np.arange(0)
        self._go(0, 0)

    def _go(self, epoch: int, position: int) -> None:
        self.epoch, self.position = epoch, position
        self._order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def draw(self, size: int) -> np.ndarray[Any, Any]:
        """The next row numbers; what is missing at the end of an epoch comes from the next."""
        parts, missing = [], size
        while missing > 0:
            if self.position == self.rows:
                self._go(self.epoch + 1, 0)
            part = self._order[self.position : self.position + missing]
            self.position += len(part)
            missing -= len(part)
            parts.append(part)
        self.step = np.concatenate(parts)
        return self.step

    def state(self) -> dict[str, Any]:
        """Rows, seed, epoch and position."""
        return {"rows": self.rows, "seed": self.seed, "epoch": self.epoch, "position": self.position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where a stream over the same rows with the same seed was.

        Raises:
            ValueError: The state is that of other rows or of another seed.
        """
        if (state["rows"], state["seed"]) != (self.rows, self.seed):
            raise ValueError(
                f"batches: expected a checkpoint of {self.rows} rows and seed {self.seed}, "
                f"got one of {state['rows']} rows and seed {state['seed']}"
            )
        self._go(int(state["epoch"]), int(state["position"]))
