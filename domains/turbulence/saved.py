"""Forecasters on disk: whatever kind a folder holds is read by its own class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from domains.turbulence.forecaster import Forecaster
from domains.turbulence.learned_forecaster import saved_settings

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
        ValueError: it is of a kind that is not known here, or of another version.
    """
    folder = Path(folder)
    kind = saved_settings(folder).get("kind")
    if kind not in _KINDS:
        raise ValueError(f"{folder}: expected a forecaster of the kinds {', '.join(_KINDS)}, got {kind!r}")
    found: Any = getattr(importlib.import_module(f"domains.turbulence.{_KINDS[kind]}"), kind)
    forecaster: Forecaster = found.load(folder)
    return forecaster
