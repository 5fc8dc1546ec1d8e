"""Separable neural architectures: functions of many coordinates from functions of one coordinate each."""

from typing import TYPE_CHECKING, Any

from separable.fitting import FitReport, Grown, Posterior, condition, fit, grow
from separable.inversion import Inversion, invert
from separable.layers import SeparableLayer

if TYPE_CHECKING:
    from separable.estimators import SeparableClassifier, SeparableRegressor

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


def __getattr__(name: str) -> Any:
    """The estimators, imported when they are first asked for: the library itself does not need scikit-learn."""
    if name not in ("SeparableClassifier", "SeparableRegressor"):
        raise AttributeError(f"module 'separable' has no attribute {name!r}")
    try:
        from separable import estimators
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sklearn":
            raise
        raise ImportError(
            f"separable.{name} needs scikit-learn; install it with: pip install 'separable[learn]'"
        ) from error
    return getattr(estimators, name)
