"""A forecaster that answers requests: an ensemble of what comes after some frames, and frames to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, create_model

from domains.turbulence.forecaster import Forecaster
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from separable.files import read_tensors, refusing
from separable.serving.served import Answer, Operation, Refused, Request, Served, packaged, rectangular

_MOST_MEMBERS, _MOST_STEPS = 32, 200
_MOST_NUMBERS = 4_000_000  # of one forecast
_MOST_STARTS = 8


class Start(Request):
    """Which frames are asked for."""

    number: int = Field(0, ge=0, description="of the start, below the number in /describe")


class ServedForecaster(Served):
    """A forecaster behind HTTP.

    Args:
        forecaster: What is asked.
        starts: Frames ``(S, H, *grid)`` to start from, in the flow's units; S may be 0.
    """

    def __init__(self, forecaster: Forecaster, starts: NDArray[np.float32]) -> None:
        self.forecaster, self.starts = forecaster, starts

    def describe(self) -> dict[str, Any]:
        """See `Served`."""
        about = self.forecaster.description
        axes = ("y", "x")[-len(about.shape) :]
        return {
            "kind": "forecaster",
            "title": f"forecast of {about.long_name}",
            "forecaster": type(self.forecaster).__name__,
            "parameters": getattr(self.forecaster, "n_parameters", None),
            "coordinates": [
                {"name": name, "unit": about.units["length"], "lower": 0.0, "upper": length, "points": points}
                for name, length, points in zip(axes, about.lengths, about.shape, strict=True)
            ],
            "values": [{"name": about.variable, "unit": about.units["field"]}],
            "uncertainty": {
                "kind": "ensemble",
                "meaning": "members with noise of their own; their spread tells how sure the forecast is",
            },
            "history": self.forecaster.history,
            "time_step": about.time_step,
            "time_unit": about.time_unit,
            "starts": len(self.starts),
            "limits": {"members": _MOST_MEMBERS, "steps": _MOST_STEPS, "numbers": _MOST_NUMBERS},
        }

    def operations(self) -> Mapping[str, Operation]:
        """See `Served`."""
        grid = "y, x" if len(self.forecaster.description.shape) == 2 else "x"
        return {
            "forecast": Operation(
                "An ensemble of what comes after the last frames of a flow",
                self._request(grid),
                "history",
                {"field": f"(members, steps, {grid})", "periods": "(steps,), time since the last frame"},
                f"(members, steps, {grid}): the field, float32",
                self._forecast,
            ),
            "start": Operation(
                "Frames of the flow to start a forecast from",
                Start,
                None,
                {"frames": f"(H, {grid}), oldest first"},
                f"(H, {grid}): the frames, float32",
                self._start,
            ),
        }

    def page(self) -> Mapping[str, bytes]:
        """See `Served`."""
        own = packaged("domains.turbulence", "forecaster.html", "forecaster.js")
        return {"index.html": own.pop("forecaster.html"), **own, **packaged("separable.serving", "page.css")}

    def _request(self, grid: str) -> type[Request]:
        nested: Any = list[list[float]] if grid == "x" else list[list[list[float]]]
        fields: dict[str, Any] = {
            "history": (nested, Field(description=f"the last H frames (H, {grid}), oldest first, in the flow's units")),
            "members": (int, Field(8, ge=1, le=_MOST_MEMBERS, description="of the ensemble")),
            "steps": (int, Field(10, ge=1, le=_MOST_STEPS, description="of time_step each")),
            "seed": (int, Field(0, ge=0, lt=2**31, description="of the noise")),
        }
        made: type[Request] = create_model("Forecast", __base__=Request, **fields)
        return made

    def _forecast(self, asked: Any) -> Answer:
        about = self.forecaster.description
        history = rectangular("history", asked.history, 1 + len(about.shape))
        if len(history) != self.forecaster.history or min(history.shape) < 1:
            raise Refused(f"history: expected {self.forecaster.history} frames, got shape {history.shape}")
        numbers = asked.members * asked.steps * history[0].size
        if numbers > _MOST_NUMBERS:
            raise Refused(f"members, steps: expected at most {_MOST_NUMBERS} numbers in a forecast, got {numbers}")
        single = history.astype(np.float32)
        if not np.isfinite(single).all():
            raise Refused("history: holds numbers beyond float32")
        found = self.forecaster.forecast(single, asked.members, asked.steps, seed=asked.seed)
        field = found[about.variable].values
        return Answer({"field": field, "periods": found["forecast_period"].values}, field)

    def _start(self, asked: Start) -> Answer:
        if asked.number >= len(self.starts):
            raise Refused(f"number: expected one below {len(self.starts)}, got {asked.number}")
        frames = self.starts[asked.number]
        return Answer({"frames": frames}, frames)


def load_served_forecaster(folder: Path, data: Path | None = None) -> ServedForecaster:
    """The forecaster of a folder with frames to start from.

    Args:
        folder: of a trained forecaster. The frames ``frames (S, H, *grid)`` of ``starts.safetensors``, where that lies
            beside it, are its starts.
        data: another source of starts: a file that `read_flow` understands, of which the first frames are taken.

    Raises:
        FileNotFoundError: there is no forecaster.
        ValueError: a file is damaged, or the data are of another flow.
        ModuleNotFoundError: xarray is not installed, which holds forecasts; the message says what brings it.
    """
    try:
        import xarray  # noqa: F401 - takes seconds, for which the first forecast need not wait
    except ModuleNotFoundError as missing:
        told = "a forecaster needs xarray beside the server: pip install 'separable[serve,turbulence]'"
        raise ModuleNotFoundError(told) from missing

    forecaster = load_forecaster(folder)
    shape = (forecaster.history, *forecaster.description.shape)
    starts = np.zeros((0, *shape), np.float32)
    if data is not None:
        flow = read_flow(data, scan=False)
        forecaster.check(flow)
        if flow.fields.shape[1] < forecaster.history:
            raise ValueError(f"{data}: expected {forecaster.history} frames or more, got {flow.fields.shape[1]}")
        count = min(_MOST_STARTS, flow.fields.shape[0])
        starts = np.stack([np.asarray(flow.fields.read(s, 0, shape[0]), np.float32) for s in range(count)])
    elif (folder / "starts.safetensors").exists():
        held = read_tensors(folder / "starts.safetensors")
        with refusing(folder / "starts.safetensors", "frames to start from"):
            if held.keys() != {"frames"} or held["frames"].shape[1:] != shape:
                found = {name: tuple(tensor.shape) for name, tensor in held.items()}
                raise ValueError(f"expected frames {shape}, it holds {found}")
            starts = held["frames"].float().numpy()
    return ServedForecaster(forecaster, starts[:_MOST_STARTS])
