"""A surrogate that answers requests: values with intervals, slopes, and inputs for a wanted value."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from separable.serving.served import Answer, Operation, Refused, Request, Served, packaged, rectangular
from separable.serving.surrogate import Surrogate

_MOST_POINTS = 100_000
_MOST_NUMBERS = 2_000_000  # of one answer
_MOST_SOLUTIONS = 16


class Evaluate(Request):
    """Where the value is asked for."""

    points: list[list[float]] = Field(description="points (N, D), coordinates in the order of /describe")
    coverage: float = Field(0.9, gt=0, lt=1, description="probability with which a new value lies in the interval")


class Gradient(Request):
    """Where the slopes are asked for."""

    points: list[list[float]] = Field(description="points (N, D), coordinates in the order of /describe")


class Inverse(Request):
    """Which value is wanted."""

    target: float | list[float] = Field(description="the wanted value, or one for each output")
    fixed: dict[str, float] = Field(default_factory=dict, description="coordinates that are known, by name")
    bounds: dict[str, list[float]] = Field(
        default_factory=dict, description="least and greatest value of coordinates, by name; by default the ranges"
    )
    solutions: int = Field(4, ge=1, le=_MOST_SOLUTIONS, description="the most solutions that are wanted")
    seed: int = Field(0, ge=0, lt=2**31, description="of the starting points")


class ServedSurrogate(Served):
    """A surrogate behind HTTP.

    Args:
        surrogate: What is asked.
    """

    files: ClassVar[tuple[str, ...]] = ("page.css", "surrogate.js", "surrogate.html")

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate = surrogate

    def describe(self) -> dict[str, Any]:
        """See `Served`."""
        surrogate = self.surrogate
        return {
            "kind": "surrogate",
            "title": ", ".join(name for name, _ in surrogate.values),
            "parameters": surrogate.layer.n_parameters,
            "coordinates": [dataclasses.asdict(c) for c in surrogate.coordinates],
            "values": [{"name": name, "unit": unit} for name, unit in surrogate.values],
            "uncertainty": dataclasses.asdict(surrogate.uncertainty),
            "limits": {"points": _MOST_POINTS, "solutions": _MOST_SOLUTIONS},
        }

    def operations(self) -> Mapping[str, Operation]:
        """See `Served`."""
        intervals = self.surrogate.uncertainty.kind == "interval"
        ends = "(N, O), or null where the fit has no intervals"
        return {
            "evaluate": Operation(
                "Values at points, with intervals where the fit has them",
                Evaluate,
                "points",
                {
                    "values": "(N, O)",
                    "lower": f"lower ends of the intervals {ends}",
                    "upper": f"upper ends {ends}",
                    "inside": "(N,), whether the point lies within the ranges; beyond them the function is continued",
                },
                "(N, O, 3): value, lower and upper end" if intervals else "(N, O, 1): value",
                self._evaluate,
            ),
            "gradient": Operation(
                "Slopes of the values by every coordinate, exact",
                Gradient,
                "points",
                {"gradient": "(N, O, D), zero along categories"},
                "(N, O, D): the slopes",
                self._gradient,
            ),
            "inverse": Operation(
                "Inputs that give a wanted value, far apart from one another",
                Inverse,
                None,
                {
                    "inputs": "(S, D), best first; where nothing was reached, the nearest",
                    "values": "(S, O) there",
                    "converged": "(S,), whether the value is the wanted one",
                    "reachable": "whether any is",
                    "seen": "(2, O), least and greatest value met within the bounds",
                },
                "(S, D): the inputs",
                self._inverse,
            ),
        }

    def page(self) -> Mapping[str, bytes]:
        """See `Served`."""
        files = packaged("separable.serving", *self.files)
        return {"index.html": files.pop("surrogate.html"), **files}

    def _points(self, given: Any) -> Any:
        points = rectangular("points", given, 2)
        if not 1 <= len(points) <= _MOST_POINTS:
            raise Refused(f"points: expected 1 to {_MOST_POINTS} of them, got {len(points)}")
        return self.surrogate.checked(points).numpy()

    def _evaluate(self, asked: Evaluate) -> Answer:
        points = self._points(asked.points)
        values, lower, upper = self.surrogate.evaluate(points, asked.coverage)
        least, most = np.array([c.possible for c in self.surrogate.coordinates]).T
        inside = ((points >= least) & (points <= most)).all(1)
        content = {"values": values, "lower": lower, "upper": upper, "inside": inside}
        parts = [values] if lower is None or upper is None else [values, lower, upper]
        return Answer(content, np.stack(parts, axis=2))

    def _gradient(self, asked: Gradient) -> Answer:
        points = self._points(asked.points)
        numbers = points.size * len(self.surrogate.values)
        if numbers > _MOST_NUMBERS:
            raise Refused(f"points: expected at most {_MOST_NUMBERS} slopes, got {numbers}")
        slopes = self.surrogate.gradient(points)
        return Answer({"gradient": slopes}, slopes)

    def _inverse(self, asked: Inverse) -> Answer:
        for name, pair in asked.bounds.items():
            if len(pair) != 2 or pair[0] > pair[1]:
                raise Refused(f"bounds.{name[:40]}: expected least and greatest value, got {pair[:4]}")
        bounds = {name: (pair[0], pair[1]) for name, pair in asked.bounds.items()}
        found = self.surrogate.inverse(
            asked.target, fixed=asked.fixed, bounds=bounds, solutions=asked.solutions, seed=asked.seed
        )
        content = {
            "inputs": found.inputs,
            "values": found.values,
            "converged": found.converged,
            "reachable": bool(found.converged.any()),
            "seen": found.seen,
        }
        return Answer(content, found.inputs)


def load_surrogate(folder: str | os.PathLike[str]) -> ServedSurrogate:
    """What `Surrogate.load` reads, to be served."""
    return ServedSurrogate(Surrogate.load(folder))
