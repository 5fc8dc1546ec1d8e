"""Separable neural architectures: functions of many coordinates from functions of one coordinate each."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from separable.estimators import SeparableClassifier, SeparableRegressor
    from separable.fitting import FitReport, Grown, Posterior
    from separable.fitting.condition import condition  # a module and what is in it have the same name
    from separable.fitting.fit import fit
    from separable.fitting.growth import grow
    from separable.inversion import Inversion
    from separable.inversion.invert import invert
    from separable.layers import SeparableLayer

__all__ = [
    "FitReport",
    "Grown",
    "Inversion",
    "Posterior",
    "SeparableClassifier",
    "SeparableLayer",
    "SeparableRegressor",
    "condition",
    "fit",
    "grow",
    "invert",
]

_HOMES = {
    "FitReport": "fitting",
    "Grown": "fitting",
    "Inversion": "inversion",
    "Posterior": "fitting",
    "SeparableClassifier": "estimators",
    "SeparableLayer": "layers",
    "SeparableRegressor": "estimators",
    "condition": "fitting",
    "fit": "fitting",
    "grow": "fitting",
    "invert": "inversion",
}
_PARTS = ("atoms", "fitting", "interactions", "inversion", "layers")


def __getattr__(name: str) -> Any:
    """What is public, imported when it is first asked for: torch takes a second, and scikit-learn may not be there."""
    if name in _PARTS:
        return importlib.import_module(f"separable.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'separable' has no attribute {name!r}")
    try:
        home = importlib.import_module(f"separable.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sklearn":
            raise
        raise ImportError(
            f"separable.{name} needs scikit-learn; install it with: pip install 'separable[learn]'"
        ) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
