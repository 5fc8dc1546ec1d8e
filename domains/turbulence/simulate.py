"""Solving a flow forward in time: batches of samples, checked on the way, as tensors or as an xarray.Dataset.

The grid, the scheme and the flow are in `grid.py`, `time_stepping.py` and `flows/`; here they meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from domains.turbulence.flows import Flow
from domains.turbulence.flows.flow import Seed, check_dimensions
from domains.turbulence.grid import Grid
from domains.turbulence.time_stepping import ExponentialRungeKutta

# The scheme is stable on the imaginary axis to 2.8, and the fastest kept wave turns by step * crossing_rate * 2 pi / 3.
COURANT_LIMIT = 1.35
_COURANT_CHOSEN = 0.5
_CHECK_EVERY = 50  # steps; a check costs about a quarter of a step
_NOISE_BLOCK = 64  # steps of noise drawn together
_CACHED = 2**17  # points advanced together on a CPU: what a step touches then stays in its cache


class Stepper:
    """Advances coefficients by steps of one length.

    Args:
        flow: what to solve.
        grid: where.
        step: a time.
        dtype: of the fields, float32 or float64.
        device: of the coefficients.

    Example:
        >>> from domains.turbulence.flows import KuramotoSivashinsky
        >>> flow, grid = KuramotoSivashinsky(), Grid((64,), (32.0,))
        >>> start = grid.coefficients(flow.random_start(grid, [0]))
        >>> later = Stepper(flow, grid, 0.1).advance(start, 10)
        >>> later.shape
        torch.Size([1, 22])
    """

    def __init__(
        self,
        flow: Flow,
        grid: Grid,
        step: float,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        check_dimensions(flow, grid)
        if not 0 < step < math.inf:
            raise ValueError(f"step: expected a positive time, got {step}")
        device = torch.device(device)
        linear = flow.linear(grid)
        self.step = step
        self._points = math.prod(grid.shape)
        self.once = ExponentialRungeKutta(linear, flow.nonlinear(grid, dtype, device), step, dtype=dtype, device=device)
        self._forcing = flow.forcing(grid)
        if self._forcing is not None:
            places = self._forcing.first, self._forcing.second
            # exp(2 L s) integrated over the step; expm1 keeps the digits where L is small
            twice = 2 * linear[places]
            spread = torch.where(twice == 0, step, torch.expm1(twice * step) / torch.where(twice == 0, 1.0, twice))
            self._deviation = (self._forcing.amplitude * (spread / 2).sqrt()).numpy()  # of real and imaginary part
            self._places = tuple(p.to(device) for p in places)
            mirrored = self._forcing.mirrored.to(device)
            self._mirrored = mirrored, grid.shape[0] - self._places[1][mirrored]

    def advance(self, coefficients: Tensor, steps: int, generators: Sequence[np.random.Generator] = ()) -> Tensor:
        """Coefficients ``(B, ...)`` after a number of steps; they carry no gradients.

        Args:
            coefficients: ``(B, *grid.coefficient_shape)``.
            steps: how many.
            generators: one for each sample where the flow has random forcing; they are moved on.

        Raises:
            ValueError: not one generator for each sample.
        """
        if self._forcing is not None and len(generators) != len(coefficients):
            raise ValueError(f"generators: expected one for each of {len(coefficients)} samples, got {len(generators)}")
        together = len(coefficients) if coefficients.device.type != "cpu" else max(1, _CACHED // self._points)
        # Without the bookkeeping of gradients a step of one small field takes a sixth less time.
        with torch.inference_mode():
            parts = [
                self._advance(part, steps, generators[index * together : (index + 1) * together])
                for index, part in enumerate(coefficients.split(together))
            ]
        return torch.cat(parts)

    def _advance(self, coefficients: Tensor, steps: int, generators: Sequence[np.random.Generator]) -> Tensor:
        if self._forcing is None:
            for _ in range(steps):
                coefficients = self.once(coefficients)
            return coefficients
        first, second = self._places
        mirrored, images = self._mirrored
        for begin in range(0, steps, _NOISE_BLOCK):
            count = min(_NOISE_BLOCK, steps - begin)
            drawn = np.stack([g.standard_normal((count, len(first), 2)) for g in generators], 1)
            noise = torch.view_as_complex(torch.from_numpy(drawn * self._deviation[:, None])).to(coefficients)
            for kick in noise:
                coefficients = self.once(coefficients)
                coefficients[:, first, second] += kick
                coefficients[:, 0, images] += kick[:, mirrored].conj()
        return coefficients


@dataclass(frozen=True)
class Trajectory:
    """Samples of a flow at some times.

    Attributes:
        fields: ``(B, T, n_y, n_x)`` or ``(B, T, n_x)``.
        times: ``(T,)``, float64.
        flow: what was solved.
        grid: where.
        step: the longest step taken, a time.
    """

    fields: Tensor
    times: Tensor
    flow: Flow
    grid: Grid
    step: float

    def to_xarray(self, units: dict[str, str] | None = None) -> Any:
        """The samples as an xarray.Dataset with dimensions sample, time, y, x and CF attributes (needs xarray).

        Args:
            units: of ``field``, ``length`` and ``time``; by default all are ``"1"``, without a dimension.

        Raises:
            ValueError: a unit is told of something else.

        Example:
            >>> from domains.turbulence.flows import KuramotoSivashinsky
            >>> flow, grid = KuramotoSivashinsky(), Grid((64,), (32.0,))
            >>> found = simulate(flow, grid, flow.random_start(grid, [0, 1]), [0.0, 1.0], step=0.1)
            >>> dict(found.to_xarray().sizes)
            {'sample': 2, 'time': 2, 'x': 64}
        """
        import xarray

        unit = {"field": "1", "length": "1", "time": "1"}
        if unknown := (units or {}).keys() - unit.keys():
            raise ValueError(f"units: expected some of {', '.join(unit)}, got {', '.join(sorted(unknown))}")
        unit |= units or {}
        axes = self.grid.axes()
        coordinates: dict[str, Any] = {
            "sample": ("sample", np.arange(len(self.fields))),
            "time": ("time", self.times.numpy(), {"axis": "T", "long_name": "time", "units": unit["time"]}),
        }
        for name, values in axes.items():
            attributes = {"axis": name.upper(), "long_name": f"distance along {name}", "units": unit["length"]}
            coordinates[name] = (name, values.numpy(), attributes)
        variable = (
            ("sample", "time", *axes),
            self.fields.cpu().numpy(),
            {"long_name": self.flow.long_name, "units": unit["field"]},
        )
        return xarray.Dataset(
            {self.flow.variable: variable},
            coordinates,
            {
                "Conventions": "CF-1.11",
                "title": type(self.flow).__name__,
                "periodic": " ".join(axes),
                "box_lengths": list(self.grid.lengths),
                "step": self.step,
                **{f"flow_{name}": value for name, value in dataclasses.asdict(self.flow).items()},  # type: ignore[call-overload]
            },
        )


def simulate(
    flow: Flow,
    grid: Grid,
    initial: Tensor,
    times: Sequence[float] | Tensor,
    *,
    step: float | None = None,
    seeds: Sequence[Seed] | None = None,
    progress: bool = False,
) -> Trajectory:
    """Solve a flow and keep its fields at given times.

    Args:
        flow: what to solve.
        grid: where.
        initial: fields ``(B, *grid.shape)``, or one ``(*grid.shape)``, at time 0, float32 or float64, on any device:
            these decide how the work is done. Modes beyond a third of the points are dropped.
        times: increasing, 0 or more, ``(T,)``.
        step: the longest step allowed; every interval between two times is divided evenly. By default the one with
            which the fastest of the initial fields crosses half a grid point, at most an interval. The default depends
            on the whole batch: give a step where a sample must not depend on the others.
        seeds: one for each sample, for flows with random forcing; by default 0, 1, .. .
        progress: whether to show a bar with the time left.

    Returns:
        Fields ``(B, T, *grid.shape)`` and what made them.

    Raises:
        ValueError: something does not fit the grid, or the times do not increase.
        FloatingPointError: a sample left the range in which the scheme is stable (a Courant number of 1.35) or is no
            longer finite; the message names it and the time, and what to change.

    Example:
        >>> from domains.turbulence.flows import DecayingTurbulence
        >>> from domains.turbulence.initial_conditions import taylor_green
        >>> grid = Grid((16, 16))
        >>> found = simulate(DecayingTurbulence(viscosity=0.5), grid, taylor_green(grid), [1.0], step=0.1)
        >>> round(float(found.fields.amax()), 6) == round(math.exp(-1.0), 6)
        True
    """
    moments = _moments(times)
    frames = frames_of(flow, grid, initial, moments, step=step, seeds=seeds, progress=progress)
    chosen = next(frames)
    assert isinstance(chosen, float)
    kept: Tensor | None = None
    for index, fields in enumerate(frames):
        assert isinstance(fields, Tensor)
        if kept is None:
            kept = fields.new_empty(len(fields), len(moments), *grid.shape)
        kept[:, index] = fields
    assert kept is not None
    return Trajectory(kept, torch.tensor(moments, dtype=torch.float64), flow, grid, chosen)


def frames_of(
    flow: Flow,
    grid: Grid,
    initial: Tensor,
    times: Sequence[float],
    *,
    step: float | None = None,
    seeds: Sequence[Seed] | None = None,
    progress: bool = False,
) -> Iterator[float | Tensor]:
    """As `simulate`, but gives first the longest step, then the fields ``(B, *grid.shape)`` by time."""
    moments = _moments(times)
    fields = initial[None] if initial.ndim == grid.dimensions else initial
    if fields.ndim != grid.dimensions + 1 or not len(fields):
        raise ValueError(f"initial: expected (B, {', '.join(map(str, grid.shape))}), got {tuple(initial.shape)}")
    check_dimensions(flow, grid)
    grid.check(fields)
    if fields.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"initial: expected float32 or float64, got {fields.dtype}")
    given = list(range(len(fields))) if seeds is None else list(seeds)
    if len(given) != len(fields):
        raise ValueError(f"seeds: expected one for each of {len(fields)} samples, got {len(given)}")
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"step: expected a positive time, got {step}")
    coefficients = grid.coefficients(fields)
    longest = max(b - a for a, b in itertools.pairwise([0.0, *moments]))
    rate = _checked(flow, grid, coefficients, step and min(step, longest), 0.0, 0.0)
    if step is None:
        step = min(_COURANT_CHOSEN / max(rate, 1e-300), longest or 1.0)
    counts, lengths, reached = list[int](), list[float](), 0.0
    for moment in moments:  # each from where the last step ended: what is too short for a step is not left out
        counts.append(math.ceil((moment - reached) / step - 1e-6))
        if counts[-1]:
            lengths.append((moment - reached) / counts[-1])
            reached = moment
    yield max(lengths, default=step)

    generators = [np.random.default_rng(seed) for seed in given] if flow.forcing(grid) is not None else []
    steppers: dict[float, Stepper] = {}
    now = 0.0
    with tqdm(total=sum(counts), unit="step", disable=not progress) as bar:
        for moment, count in zip(moments, counts, strict=True):
            if count > 0:
                # Intervals that differ by rounding only share one stepper, so that each is worked out once.
                length = float(f"{(moment - now) / count:.10e}")
                if length not in steppers:
                    steppers[length] = Stepper(flow, grid, length, dtype=fields.dtype, device=fields.device)
                for begin in range(0, count, _CHECK_EVERY):
                    steps = min(_CHECK_EVERY, count - begin)
                    coefficients = steppers[length].advance(coefficients, steps, generators)
                    before, reached = now + begin * length, now + (begin + steps) * length
                    _checked(flow, grid, coefficients, length, before, reached)
                    bar.update(steps)
                now = moment
            yield grid.fields(coefficients)


def _moments(times: Sequence[float] | Tensor) -> list[float]:
    moments = [float(t) for t in times]
    if not moments or moments[0] < 0 or any(not a < b < math.inf for a, b in itertools.pairwise(moments)):
        raise ValueError(f"times: expected increasing numbers of 0 or more, got {moments[:8]}")
    return moments


def _checked(flow: Flow, grid: Grid, coefficients: Tensor, step: float | None, before: float, reached: float) -> float:
    """The greatest crossing rate of a batch, or an error that names the first sample that is beyond help."""
    rates = flow.crossing_rate(grid, coefficients)
    greatest = float(rates.max())
    if math.isfinite(greatest) and (step is None or greatest * step <= COURANT_LIMIT):
        return greatest
    sample = int((~(rates.double() * (step or 0.0) <= COURANT_LIMIT)).nonzero()[0, 0])
    rate = float(rates[sample])
    if reached == 0 and not math.isfinite(rate):
        raise FloatingPointError(f"initial: sample {sample} is not finite")
    if step is not None and math.isfinite(rate):
        raise FloatingPointError(
            f"sample {sample} at time {reached:g}: the Courant number is {rate * step:.3g}, above the limit "
            f"{COURANT_LIMIT:g} of stability; take a step of at most {_COURANT_CHOSEN / rate:.2g} (now {step:g})"
        )
    raise FloatingPointError(
        f"sample {sample}: no longer finite between time {before:g} and {reached:g}; take a step well below {step:g}, "
        f"or more viscosity for {' x '.join(map(str, grid.shape))} points"
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch, as two sum in another order, and chaos makes other fields of it.

    Example:
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
