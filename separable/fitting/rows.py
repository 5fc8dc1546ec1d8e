"""Rows of data for closed-form fitting: checked once, delivered in batches of float64, as often as needed.

N rows of D inputs, O outputs and a weight. Sources are arrays (torch, numpy, a memory map or an HDF5 data set: anything
with ``shape`` and slices) or any iterable of batches that can be iterated more than once. Only one batch is in memory
at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]

_ROUNDED = torch.float16, torch.bfloat16, torch.float32


class Rows:
    """Batches ``(x (n, D), y (n, O), w (n,))`` in float64.

    Args:
        x: Inputs ``(N, D)``, or an iterable of tuples ``(x, y)`` or ``(x, y, w)``.
        y: Targets ``(N,)`` or ``(N, O)``; None when ``x`` is an iterable of batches.
        weights: Non-negative weights ``(N,)`` of the squared errors; None for ones.
        inputs: The D that is expected.
        outputs: The O that is expected.
        domain: Ends of the D coordinates' ranges, if they have any. An input that is an end as its dtype rounds it, 0.1
            in single precision say, is that end, and does not lie outside.
        batch_size: Rows in a batch taken from arrays.
        device: Where the batches go.

    Raises:
        ValueError: On a wrong shape, no rows, a NaN, masked or infinite value (its row and column are named), complex
            numbers, a negative weight or a sum of weights of zero.
        TypeError: If the batches can be iterated only once.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        weights: Any = None,
        *,
        inputs: int,
        outputs: int,
        domain: Sequence[tuple[float, float]] | None = None,
        batch_size: int = 65536,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"fit: batch_size is at least 1, got {batch_size}")
        self.inputs, self.outputs, self.batch_size, self.device = inputs, outputs, batch_size, torch.device(device)
        self._ends = None if domain is None else torch.tensor(domain, dtype=torch.float64, device=self.device).unbind(1)
        if y is None:
            if not isinstance(x, Iterable) or hasattr(x, "shape"):
                raise ValueError("fit: targets are missing; give x and y, or an iterable of batches (x, y)")
            if isinstance(x, Iterator):
                raise TypeError(
                    "fit: the batches can be iterated only once, and fitting passes over them many times; "
                    "give a list, a DataLoader or an object whose __iter__ starts afresh"
                )
            if weights is not None:
                raise ValueError("fit: weights of batches travel with them, as (x, y, weights)")
        else:
            x, y = _array(x), _array(y)
            if len(x.shape) != 2 or x.shape[1] != inputs:
                raise ValueError(f"fit: expected x of shape (N, {inputs}), got {tuple(x.shape)}")
            if len(y.shape) not in (1, 2) or (y.shape[1] if len(y.shape) == 2 else 1) != outputs:
                expected = "(N,) or (N, 1)" if outputs == 1 else f"(N, {outputs})"
                raise ValueError(f"fit: expected y of shape {expected}, got {tuple(y.shape)}")
            if x.shape[0] != y.shape[0]:
                raise ValueError(f"fit: x has {x.shape[0]} rows, y has {y.shape[0]}")
            if weights is not None:
                weights = _array(weights)
                if tuple(weights.shape) != (x.shape[0],):
                    raise ValueError(f"fit: expected weights of shape ({x.shape[0]},), got {tuple(weights.shape)}")
        self._source, self._targets, self._weights = x, y, weights
        self.count, self.total_weight, mean = 0, 0.0, torch.zeros(outputs, dtype=torch.float64, device=self.device)
        for bx, by, bw in self._checked():
            self.count += len(bx)
            self.total_weight += float(bw.sum())
            mean += bw @ by
        if self.count == 0:
            raise ValueError("fit: there are no rows")
        if not self.total_weight > 0:
            raise ValueError("fit: the weights sum to zero")
        self.mean = mean / self.total_weight
        self.single: Batch | None = None
        if y is not None and self.count <= batch_size:
            self.single = next(iter(self._batches()))

    def __iter__(self) -> Iterator[Batch]:
        """All rows once, in batches."""
        return iter([self.single]) if self.single is not None else self._batches()

    def _batches(self) -> Iterator[Batch]:
        if self._targets is None:
            for batch in self._source:
                part, y, *rest = batch
                x, y = self._inputs(part), self._tensor(y, "y")
                y = y[:, None] if y.ndim == 1 else y
                yield x, y, self._tensor(rest[0], "weights") if rest else x.new_ones(len(x))
            return
        for start in range(0, self._source.shape[0], self.batch_size):
            rows = slice(start, start + self.batch_size)
            x, y = self._inputs(self._source[rows]), self._tensor(self._targets[rows], "y")
            w = x.new_ones(len(x)) if self._weights is None else self._tensor(self._weights[rows], "weights")
            yield x, (y[:, None] if y.ndim == 1 else y), w

    def _tensor(self, part: Any, name: str) -> Tensor:
        return as_tensor(part, name).detach().to(device=self.device, dtype=torch.float64)

    def _inputs(self, part: Any) -> Tensor:
        given = as_tensor(part, "x").detach().to(self.device)
        x = given.to(torch.float64)
        if self._ends is None or given.dtype not in _ROUNDED or x.shape[1:] != (self.inputs,):
            return x
        for end in self._ends:
            x = torch.where(given == end.to(given.dtype), end, x)
        return x

    def _checked(self) -> Iterator[Batch]:
        start = 0
        for x, y, w in self._batches():
            if x.ndim != 2 or x.shape[1] != self.inputs or y.shape != (len(x), self.outputs) or w.shape != (len(x),):
                raise ValueError(
                    f"fit: expected a batch of shapes (n, {self.inputs}), (n, {self.outputs}), (n,); "
                    f"got {tuple(x.shape)}, {tuple(y.shape)}, {tuple(w.shape)}"
                )
            for name, values in (("x", x), ("y", y), ("weights", w[:, None])):
                wrong = ~torch.isfinite(values)
                if bool(wrong.any()):
                    row, column = (int(i) for i in wrong.nonzero()[0])
                    raise ValueError(
                        f"fit: {name} is {float(values[row, column])} at row {start + row}, column {column}; "
                        f"{int(wrong.sum())} such values in this batch"
                    )
            if bool((w < 0).any()):
                raise ValueError(f"fit: weight {float(w.min()):g} is negative (row {start + int(w.argmin())})")
            start += len(x)
            yield x, y, w


def as_tensor(values: Any, name: str) -> Tensor:
    """A tensor as it is, arrays of half and single precision in theirs, anything else in float64.

    An array's own memory is used where torch takes it; those that may only be read, such as a memory map, and those
    that run backwards are copied. What a masked array hides is NaN.

    Raises:
        ValueError: If the values, whose name is given, are complex.
    """
    array = values if isinstance(values, Tensor | np.ma.MaskedArray) else np.asarray(values)
    if array.is_complex() if isinstance(array, Tensor) else np.iscomplexobj(array):
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")
    if isinstance(array, Tensor):
        return array
    kind = array.dtype.type if array.dtype.type in (np.float16, np.float32) else np.float64
    return torch.from_numpy(np.require(np.ma.filled(array.astype(kind, copy=False), np.nan), None, ["C", "W"]))


def _array(values: Any) -> Any:
    return values if hasattr(values, "shape") else np.asarray(values, dtype=np.float64)
