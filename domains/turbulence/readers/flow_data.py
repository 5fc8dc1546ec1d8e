"""A flow that was read: lazy fields with what they mean, and the pieces that a forecaster learns from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.turbulence.grid import Grid
from domains.turbulence.readers.lazy_fields import ArraySource, ChosenSource, LazyFields


@dataclass(frozen=True)
class FlowData:
    """Samples of one variable of a flow on an even grid at even times.

    Attributes:
        fields: ``(samples, frames, n_y, n_x)``, or ``(samples, frames, n_x)``; read where indexed.
        spacing: distance of points ``(d_y, d_x)`` or ``(d_x,)``, in ``units["length"]``.
        times: of the frames of the first sample, ``(frames,)`` float64, in ``units["time"]``; the others may start at
            another time, their frames are as far apart.
        units: of ``field``, ``length`` and ``time``; "1" is without a dimension, "unknown" is not said in the file.
        periodic: whether the box repeats along y and along x; None where the file does not say.
        variable: name of the field.
        attributes: what else the file says, such as the configuration of our own data sets.
        starts: time of the first frame of each sample; () where all start as the first does.
        calendar: that times since a date are told in, as CF names it; "" is the usual one.
        places: coordinates of the points along y ``(n_y,)`` and x ``(n_x,)``, where the file has them.
    """

    fields: LazyFields
    spacing: tuple[float, ...]
    times: NDArray[np.float64]
    units: dict[str, str]
    periodic: tuple[bool, ...] | None
    variable: str
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    starts: tuple[float, ...] = ()
    calendar: str = ""
    places: tuple[NDArray[Any], ...] = ()

    def __len__(self) -> int:
        return self.fields.shape[0]

    @property
    def time_step(self) -> float:
        """Time between two frames; NaN where there is one frame only."""
        return float((self.times[-1] - self.times[0]) / (len(self.times) - 1)) if len(self.times) > 1 else float("nan")

    def time_of(self, sample: int, frame: int) -> float:
        """Time of a frame of a sample, in ``units["time"]``."""
        later = self.starts[sample] - float(self.times[0]) if self.starts else 0.0
        return float(self.times[frame]) + later

    @property
    def grid(self) -> Grid:
        """The periodic grid of the fields.

        Raises:
            ValueError: the box is known not to repeat.
        """
        if self.periodic is not None and not all(self.periodic):
            raise ValueError(f"{self.fields.sources[0].name}: expected a periodic box, got periodic = {self.periodic}")
        shape = self.fields.shape[2:]
        return Grid(shape, tuple(n * d for n, d in zip(shape, self.spacing, strict=True)))

    def labelled(self, sample: int, start: int, stop: int) -> Any:
        """Some frames of a sample as an xarray.DataArray over time, (y,) x, with the file's coordinates (needs xarray).

        Example:
            >>> from domains.turbulence.readers import read_flow
            >>> read_flow(np.zeros((1, 4, 8, 8)), time_step=0.5).labelled(0, 1, 3).time.values.tolist()
            [0.5, 1.0]
        """
        import xarray

        space = ("y", "x")[-len(self.spacing) :]
        told = {} if self.units["time"] == "unknown" else {"units": self.units["time"]}
        told |= {"calendar": self.calendar} if self.calendar else {}
        times = [self.time_of(sample, frame) for frame in range(start, stop)]
        coordinates: dict[str, Any] = {"time": ("time", times, told)}
        coordinates |= {name: (name, along) for name, along in zip(space, self.places)}  # noqa: B905 - or none
        fields = self.fields.read(sample, start, stop)
        return xarray.DataArray(fields, coordinates, ("time", *space), self.variable)

    def load(self, samples: Iterable[int] | None = None) -> Tensor:
        """The fields of some samples, or of all, in memory, ``(S, frames, n_y, n_x)`` float32.

        Random access to a compressed file costs the decompression of whole chunks; what fits in memory trains faster
        from there.
        """
        chosen = range(len(self)) if samples is None else list(samples)
        loaded = torch.empty(len(chosen), *self.fields.shape[1:], dtype=torch.float32)
        for place, sample in enumerate(chosen):
            loaded[place] = torch.from_numpy(self.fields[sample].astype(np.float32))
        return loaded

    def of_samples(self, samples: Sequence[int], *, in_memory: bool = False) -> FlowData:
        """The same flow with some of its samples only, read where they are indexed or once, into memory.

        Example:
            >>> from domains.turbulence.readers import read_flow
            >>> data = read_flow(np.arange(3.0)[:, None, None, None] * np.ones((3, 2, 4, 4)))
            >>> data.of_samples([2, 0]).fields[:, 0, 0, 0].tolist()
            [2.0, 0.0]
        """
        name, samples = self.fields.sources[0].name, tuple(samples)
        kept = ArraySource(name, self.load(samples).numpy()) if in_memory else ChosenSource(self.fields, samples)
        starts = tuple(self.starts[sample] for sample in samples) if self.starts else ()
        times = self.times + (starts[0] - float(self.times[0])) if starts else self.times
        return dataclasses.replace(self, fields=LazyFields([kept]), times=times, starts=starts)

    def windows(self, history: int, lead: int, *, stride: int = 1, samples: Sequence[int] | None = None) -> Windows:
        """All pieces of ``history`` frames followed by ``lead`` frames, lazily.

        Args:
            history: frames that are known.
            lead: frames after them.
            stride: frames from the start of one window to that of the next.
            samples: to take them from; by default all. Split by samples, not by windows, to hold data out.

        Raises:
            ValueError: a sample has not so many frames.

        Example:
            >>> from domains.turbulence.readers import read_flow
            >>> data = read_flow(np.zeros((3, 10, 8, 8)), time_step=0.5)
            >>> windows = data.windows(history=2, lead=4)
            >>> len(windows), [tuple(part.shape) for part in windows[0]]
            (15, [(2, 8, 8), (4, 8, 8)])
        """
        return Windows(self.fields, history, lead, stride, tuple(range(len(self)) if samples is None else samples))

    def close(self) -> None:
        """Let go of all files, so that they can be written or moved; the next reading opens them again.

        An xarray.Dataset that was given is left open.
        """
        self.fields.close()

    def scan(self) -> None:
        """Read every value once, a few frames at a time, and raise ValueError at the first that is not finite."""
        samples, frames, *space = self.fields.shape
        together = max(1, 2**22 // int(np.prod(space)))
        for sample in range(samples):
            for start in range(0, frames, together):
                self.fields.read(sample, start, min(start + together, frames))
        self.close()


@dataclass(frozen=True)
class Windows:
    """A map-style data set for `torch.utils.data.DataLoader`: item i is ``(history, n_y, n_x)``, ``(lead, n_y, n_x)``.

    Attributes:
        fields: where they come from.
        history: frames known.
        lead: frames after them.
        stride: frames from one window to the next.
        samples: used, in their order.
    """

    fields: LazyFields
    history: int
    lead: int
    stride: int
    samples: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("history", "lead", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.history + self.lead > self.fields.shape[1]:
            raise ValueError(
                f"windows: expected at most {self.fields.shape[1]} frames, "
                f"got {self.history} of history and {self.lead} after them"
            )
        if wrong := [sample for sample in self.samples if not 0 <= sample < self.fields.shape[0]]:
            raise ValueError(f"samples: expected numbers below {self.fields.shape[0]}, got {wrong[0]}")

    @property
    def per_sample(self) -> int:
        """Windows of one sample."""
        return (self.fields.shape[1] - self.history - self.lead) // self.stride + 1

    def __len__(self) -> int:
        return self.per_sample * len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        place = range(len(self))[index]  # an IndexError beyond the end also ends a plain `for`
        sample, window = divmod(place, self.per_sample)
        start = window * self.stride
        read = self.fields.read(self.samples[sample], start, start + self.history + self.lead)
        both = torch.from_numpy(np.array(read, dtype=np.float32))
        return both[: self.history], both[self.history :]
