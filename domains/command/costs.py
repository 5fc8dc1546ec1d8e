"""Where the cost of a verb is told: the function of its name in the module ``costs`` beside its ``commands``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from separable.records import Cost


def cost_of(module: str, function: str) -> Callable[..., Any] | None:
    """What tells the cost of a verb before it starts; None for one that takes seconds.

    Args:
        module: of the verb.
        function: its name.

    Example:
        >>> cost_of("domains.navigation.commands", "export") is None
        True
    """
    beside = module.rpartition(".")[0] + ".costs"
    if importlib.util.find_spec(beside) is None:
        return None
    return getattr(importlib.import_module(beside), function, None)


def demo(folder: Path) -> Cost:
    """Of the demonstration."""
    return Cost("by experience: on two cores with nothing else to do", 300.0, disk=5e6)
