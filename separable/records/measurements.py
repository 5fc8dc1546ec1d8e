"""Numbers in the lines of ``metrics.jsonl``: the last of each name, and how each goes over the steps."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

_CLOCKS = ("time",)  # told in every line, and never what a run is judged by


def numbers_of(line: Mapping[str, Any], prefix: str = "", finite: bool = True) -> dict[str, float]:
    """The numbers of a line, the finite ones or all; names of nested ones are joined by a dot.

    Example:
        >>> numbers_of({"step": 3, "scores": {"loss": 0.5}, "sample": "text", "best": True})
        {'step': 3, 'scores.loss': 0.5}
    """
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= numbers_of(value, f"{prefix}{name}.", finite)
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not (finite and not math.isfinite(value))
        ):
            found[f"{prefix}{name}"] = value
    return found


def last_of_each(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of every number, finite or not, in the order in which they first came.

    Example:
        >>> last_of_each([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "scores": {"error": 0.1}}])
        {'step': 2, 'loss': 1.0, 'scores.error': 0.1}
    """
    found: dict[str, float] = {}
    for line in lines:
        found |= {name: value for name, value in numbers_of(line, finite=False).items() if name not in _CLOCKS}
    return found


def curves(lines: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of every number that was told at two steps or more.

    Example:
        >>> curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "error": 0.1}])
        {'loss': ([1, 2], [2.0, 1.0])}
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        numbers = numbers_of(line)
        step = numbers.pop("step", None)
        if step is None:
            continue
        for name, value in numbers.items():
            if name not in _CLOCKS:
                steps, values = found.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return {name: pair for name, pair in found.items() if len(set(pair[0])) > 1}
