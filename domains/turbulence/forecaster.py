"""What every forecaster has in common: from the last frames of a flow to an ensemble of the next ones.

A forecaster gives one step, `Forecaster.advance`; here it is repeated for samples and members, a few of them at a time,
and the result is told as an xarray.Dataset with CF attributes.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from domains.turbulence.data import LAYOUT
from domains.turbulence.flows import Flow, flow_from_settings
from domains.turbulence.flows.flow import Waves
from domains.turbulence.grid import Grid
from domains.turbulence.labels import Labels, check_origin, labelled
from domains.turbulence.readers import FlowData
from domains.turbulence.readers.checks import EVEN
from domains.turbulence.readers.clock import length_unit

_NOT_A_TIME = ("1", "unknown", "frame")  # units of which CF's standard name forecast_period must not be said


@dataclasses.dataclass(frozen=True)
class FlowDescription:
    """What a forecaster was made for, and what its forecasts are.

    Attributes:
        variable: name of the field.
        long_name: the same in words.
        units: of ``field``, ``length`` and ``time``; "1" is without a dimension, "unknown" is not known.
        time_step: between two frames, in ``units["time"]``.
        shape: points (n_y, n_x) or (n_x,).
        lengths: of the box (l_y, l_x) or (l_x,), in ``units["length"]``.
        calendar: that times since a date are told in, as CF names it; "" is the usual one.
        origin: place of the first point (y, x) or (x,), in ``units["length"]``; () is 0, as where data do not say.
    """

    variable: str
    long_name: str
    units: dict[str, str]
    time_step: float
    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    calendar: str = ""
    origin: tuple[float, ...] = ()

    @classmethod
    def of(cls, data: FlowData) -> FlowDescription:
        """What was read.

        Raises:
            ValueError: there is one frame only, or the box is known not to repeat.

        Example:
            >>> from domains.turbulence.readers import read_flow
            >>> FlowDescription.of(read_flow(np.zeros((1, 3, 8, 8)), spacing=0.5, time_step=2.0)).lengths
            (4.0, 4.0)
        """
        if len(data.times) < 2:
            raise ValueError(f"data: expected two frames or more, got {len(data.times)}")
        grid, flow = data.grid, flow_of(data)
        long_name = data.variable if flow is None else flow.long_name
        return cls(
            data.variable,
            long_name,
            dict(data.units),
            data.time_step,
            grid.shape,
            grid.lengths,
            data.calendar,
            tuple(float(along[0]) for along in data.places),
        )

    @property
    def first_point(self) -> dict[str, float]:
        """Place of the first point by the name of its axis."""
        space = ("y", "x")[-len(self.shape) :]
        return dict(zip(space, self.origin or (0.0,) * len(space), strict=True))

    @property
    def time_unit(self) -> str:
        """Unit of a length of time: ``hours`` where times are told in ``hours since 2000-01-01``."""
        return length_unit(self.units["time"])

    def check(self, data: FlowData) -> None:
        """Refuse data of another variable, unit, box or time between frames; points and dates may be others.

        One frame alone has no unit of time of its own where dates were decoded, so that is not compared.

        Raises:
            ValueError: something differs; the message names it.
        """
        lengths = tuple(n * d for n, d in zip(data.fields.shape[2:], data.spacing, strict=True))
        compared: list[tuple[str, str, str | None]] = [("variable", self.variable, data.variable)]
        own, theirs = self.units | {"time": self.time_unit}, data.units | {"time": length_unit(data.units["time"])}
        if len(data.times) < 2:
            del own["time"]
        compared += [(f"unit of {name}", unit, theirs.get(name)) for name, unit in own.items()]
        for name, wanted, found in compared:
            if wanted != found:
                raise ValueError(f"data: expected the {name} {wanted}, got {found}")
        if len(lengths) != len(self.lengths) or not np.allclose(lengths, self.lengths, rtol=EVEN, atol=0):
            raise ValueError(f"data: expected a box of {self.lengths}, got {lengths}")
        if len(data.times) > 1 and not np.isclose(data.time_step, self.time_step, rtol=EVEN, atol=0):
            raise ValueError(f"data: expected {self.time_step:g} between two frames, got {data.time_step:g}")

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> FlowDescription:
        """From plain JSON data."""
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in settings.items()}
        return cls(**plain)


def flow_of(data: FlowData) -> Flow | None:
    """The flow that data were made with, or None where the file does not say."""
    return flow_from_settings(data.attributes["config"]["flow"]) if data.attributes.get("layout") == LAYOUT else None


Self = TypeVar("Self", bound="Forecaster")


class Forecaster(ABC):
    """Forecasts of one flow. Its subclasses are final; they give `advance`, `history` and `description`.

    Attributes:
        description: what is forecast.
        history: number H of frames that a forecast starts from.
    """

    description: FlowDescription
    history: int

    @property
    def waves(self) -> Waves:
        """Waves of a force whose place the forecaster knows: frames that begin elsewhere in them are refused."""
        return ()

    def check(self, data: FlowData) -> None:
        """Refuse data that the forecaster cannot go on from.

        Raises:
            ValueError: something differs, see `FlowDescription.check`, or a force lies elsewhere; the message names it.
        """
        self.description.check(data)
        space = ("y", "x")[-len(self.description.shape) :]
        places = {name: float(along[0]) for name, along in zip(space, data.places)}  # noqa: B905 - or none
        check_origin("data", places, self.description, self.waves)

    @abstractmethod
    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """The next frame ``(B, *grid)`` after frames ``(B, H, *grid)``, float32, in the flow's units.

        Args:
            frames: each the past of one member, on any grid over the box that the forecaster accepts. The next frame is
                on their device, whatever that of the forecaster is.
            generators: one for each, from which all that is random is drawn.

        Raises:
            ValueError: the grid is refused; the message says what is expected.
        """

    def to(self: Self, device: torch.device | str) -> Self:
        """Move what is computed to a device; frames stay where they are. A forecaster without tensors stays too."""
        return self

    def rollout(
        self, history: Any, members: int, *, seed: int = 0, samples: Sequence[int] | None = None, together: int = 64
    ) -> Iterator[Tensor]:
        """One lead after another, without end, ``(S, members, *grid)`` each; only the last H frames are held.

        Args:
            history: frames ``(S, H, *grid)``, a tensor or an array.
            members: of each sample's ensemble.
            seed: of what is random. Member j of sample s draws from ``(seed, s, j)``, so it is the same in any batch,
                to rounding.
            samples: the numbers s; by default 0, 1, .. .
            together: members that are advanced at once; decides the memory that is needed beside them.

        Raises:
            ValueError: a shape or a number does not fit, or frames are not finite.
            FloatingPointError: a member is no longer finite.
        """
        frames = _as_tensor(history).float()
        dimensions = len(self.description.shape)
        if frames.ndim != dimensions + 2 or frames.shape[1] != self.history:
            raise ValueError(
                f"history: expected (samples, {self.history} frames, + {dimensions} grid axes), "
                f"got {tuple(frames.shape)}"
            )
        numbers = list(range(len(frames)) if samples is None else samples)
        if len(numbers) != len(frames) or members < 1 or together < 1:
            raise ValueError(
                f"expected a number for each of {len(frames)} samples and 1 or more for members and together, got "
                f"{len(numbers)}, {members}, {together}"
            )
        if bad := [s for s, frame in zip(numbers, frames, strict=True) if not bool(torch.isfinite(frame).all())]:
            raise ValueError(f"history: sample {bad[0]} is not finite")
        return self._leads(frames, members, seed, numbers, together)

    def _leads(self, frames: Tensor, members: int, seed: int, numbers: list[int], together: int) -> Iterator[Tensor]:
        generators = [np.random.default_rng((seed, s, j)) for s in numbers for j in range(members)]
        held = frames.repeat_interleave(members, 0)
        shape = (len(numbers), members, *frames.shape[2:])
        lead = 0
        while True:
            lead += 1
            following = torch.empty_like(held[:, 0])
            for begin in range(0, len(held), together):
                part = slice(begin, begin + together)
                following[part] = self.advance(held[part], generators[part])
            if not bool(torch.isfinite(following).all()):
                place = int((~torch.isfinite(following.flatten(1)).all(1)).nonzero()[0, 0])
                sample, member = divmod(place, members)
                raise FloatingPointError(
                    f"forecast: member {member} of sample {numbers[sample]} is not finite at step {lead}"
                )
            held = torch.cat([held[:, 1:], following[:, None]], 1)
            yield following.reshape(shape)

    def forecast(
        self,
        history: Any,
        members: int,
        steps: int,
        *,
        seed: int = 0,
        together: int = 64,
        reference_time: float | None = None,
        progress: bool = False,
    ) -> Any:
        """An ensemble of what comes after some frames, as an xarray.Dataset (needs xarray).

        Args:
            history: the last frames ``(H, n_y, n_x)``, oldest first, in the units of ``description``; or those of
                several samples ``(S, H, n_y, n_x)``, which puts a dimension ``sample`` in front. In one dimension
                without n_y. A tensor or an array, or an xarray.DataArray, whose dimensions may be in any order and
                whose coordinates the forecast goes on with.
            members: of the ensemble.
            steps: of ``description.time_step`` each.
            seed: of what is random, see `rollout`.
            together: members advanced at once, see `rollout`.
            reference_time: time of the last frame, in ``description.units["time"]`` and its calendar, whatever those of
                the history are; by default as the history's coordinates say, or 0.
            progress: whether to show a bar with the time left.

        Returns:
            The field by realization, forecast_period, y, x, float32, with units, names and coordinates after CF 1.11.

        Raises:
            ValueError: a shape or a number does not fit, frames are not finite, or coordinates are not those of the
                forecaster, see `labelled`.
            FloatingPointError: a member is no longer finite.
        """
        about = self.description
        labels = Labels(0.0, about.units["time"], about.calendar)
        if hasattr(history, "dims"):
            history, labels = labelled(history, about, self.waves)
        if reference_time is not None:
            labels = dataclasses.replace(
                labels, time=float(reference_time), unit=about.units["time"], calendar=about.calendar
            )
        given = _as_tensor(history)
        one = given.ndim == len(about.shape) + 1
        if steps < 1:
            raise ValueError(f"steps: expected 1 or more, got {steps}")
        leads = self.rollout(given[None] if one else given, members, seed=seed, together=together)
        found: NDArray[np.float32] | None = None
        for step in tqdm(range(steps), unit="step", disable=not progress):
            frame = next(leads).numpy(force=True)
            if found is None:
                found = np.empty((*frame.shape[:2], steps, *frame.shape[2:]), np.float32)
            found[:, :, step] = frame
        assert found is not None
        return forecast_dataset(found[0] if one else found, about, type(self).__name__, seed, labels)


def forecast_dataset(
    fields: NDArray[np.float32], description: FlowDescription, source: str, seed: int, labels: Labels
) -> Any:
    """Members ``([samples,] members, steps, *grid)`` as an xarray.Dataset with CF attributes.

    Args:
        fields: in the units of the description, on any grid over its box.
        description: of the flow.
        source: name of what made the forecast.
        seed: of it.
        labels: of the last known frame.
    """
    import xarray

    unit = description.units
    dimensions = len(description.shape)
    space = ("y", "x")[-dimensions:]
    grid = Grid(tuple(fields.shape[-dimensions:]), description.lengths)
    lead = description.time_step * np.arange(1, fields.shape[-dimensions - 1] + 1)
    clock = _units(labels.unit) | ({"calendar": labels.calendar} if labels.calendar else {})
    period = {"long_name": "time since the last known frame", **_units(description.time_unit)}
    if unit["time"] not in _NOT_A_TIME:
        period["standard_name"] = "forecast_period"
    coordinates: dict[str, Any] = {
        "realization": (
            "realization",
            np.arange(fields.shape[-dimensions - 2]),
            {"standard_name": "realization", "long_name": "member of the ensemble", "units": "1"},
        ),
        "forecast_period": ("forecast_period", lead, period),
        "forecast_reference_time": (
            (),
            labels.time,
            {"long_name": "time of the last known frame", **clock},
        ),
        "time": (
            "forecast_period",
            labels.time + lead,
            {"long_name": "time for which the forecast holds", **clock},
        ),
    }
    for name, values in grid.axes().items():
        attributes = {"axis": name.upper(), "long_name": f"distance along {name}", **_units(unit["length"])}
        own = description.first_point[name] + values.numpy()
        coordinates[name] = (name, labels.places.get(name, own), attributes)
    front: tuple[str, ...] = ()
    if fields.ndim == dimensions + 3:
        front = ("sample",)
        told = {"long_name": "number of the start", "units": "1"}
        coordinates["sample"] = ("sample", np.arange(len(fields)), told)
        if labels.samples is not None:
            coordinates["sample"] = ("sample", labels.samples, {"long_name": "name of the start"})
    variable = (
        (*front, "realization", "forecast_period", *space),
        fields,
        {"long_name": description.long_name, **_units(unit["field"])},
    )
    return xarray.Dataset(
        {description.variable: variable},
        coordinates,
        {
            "Conventions": "CF-1.11",
            "title": f"ensemble forecast of {description.long_name}",
            "source": f"separable, {source}",
            "seed": seed,
            "periodic": " ".join(space),
            "box_lengths": list(description.lengths),
        },
    )


def _as_tensor(frames: Any) -> Tensor:
    """Frames as torch takes them: in this machine's order of bytes, and no axis backwards."""
    if isinstance(frames, Tensor):
        return frames
    values = np.asarray(frames)
    return torch.from_numpy(np.array(values, values.dtype.newbyteorder("="), order="C"))


def _units(unit: str) -> dict[str, str]:
    """The attribute, or none where the unit is not known: CF has no word for that."""
    return {} if unit == "unknown" else {"units": unit}
