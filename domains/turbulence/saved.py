"""Forecasters on disk: whatever kind a folder holds is read by its own class."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from domains.turbulence.forecaster import Forecaster
from domains.turbulence.learned_forecaster import saved_settings
from separable.files import read_json, read_tensors, refusing

# Where a kind is defined; only the one that is wanted is imported.
_KINDS = {
    "NoiseForecaster": "noise_forecaster",
    "DeterministicForecaster": "deterministic_forecaster",
    "NoisyForecaster": "baselines.noisy_forecaster",
    "InnovationForecaster": "innovation_forecaster",
    "TokenForecaster": "token_forecaster",
}


def load_forecaster(folder: str | Path) -> Forecaster:
    """The forecaster that a run left in its folder.

    Raises:
        FileNotFoundError: the folder holds no forecaster.
        ValueError: it is of a kind that is not known here, of another version, or damaged.
    """
    folder = Path(folder)
    if not (folder / "forecaster.json").exists():
        saved_settings(folder)  # says what makes one
    settings = read_json(folder / "forecaster.json", "the settings of a forecaster", finite=False)
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{folder}: expected a forecaster of the kinds {', '.join(_KINDS)}, got {kind!r}")
    read_tensors(folder / "forecaster.safetensors", "a forecaster")  # refuses what is damaged or not finite
    found: Any = getattr(importlib.import_module(f"domains.turbulence.{_KINDS[kind]}"), kind)
    with refusing(folder, "a forecaster"):
        forecaster: Forecaster = found.load(folder)
        told = forecaster.description
        named = (told.variable, told.calendar, *(told.units.get(name) for name in ("field", "length", "time")))
        if not all(isinstance(name, str) for name in named):
            raise ValueError(f"it forecasts {told.variable!r} in {told.units} and the calendar {told.calendar!r}")
        sizes = (told.time_step, *told.shape, *told.lengths)
        if len(told.shape) != len(told.lengths) or not all(
            isinstance(n, int | float) and 0 < n < math.inf for n in sizes
        ):
            raise ValueError(f"its steps, points and lengths are {told.time_step}, {told.shape} and {told.lengths}")
        if len(told.origin) not in (0, len(told.shape)) or not all(
            isinstance(n, int | float) and math.isfinite(n) for n in told.origin
        ):
            raise ValueError(f"its first point is {told.origin}")
        statistics = {**settings.get("statistics", {}), **{n: settings.get(n) for n in ("centre", "scale")}}
        if not all(v is None or (isinstance(v, int | float) and not math.isnan(v)) for v in statistics.values()):
            raise ValueError(f"its statistics are {statistics}")
    return forecaster
