"""A fitted function with what a person needs to ask it: names, units and ranges of its coordinates, and how sure it is.

    y = h(f(x)),    f a separable layer within a reach,    h the inverse of a link (the identity for most)

Whatever the library fits becomes one `Surrogate`: a layer, a grown structure, a posterior, a solved problem, a fitted
estimator. It is kept in a folder and answers three questions: the value with an interval, the slope, and the inputs
that give a wanted value.
"""

import copy
import dataclasses
import functools
import hashlib
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from separable.files import refusing
from separable.fitting import Grown, Posterior
from separable.fitting.checked_files import read_checked, write_checked
from separable.fitting.links import LINKS, Link
from separable.galerkin import Solution
from separable.inversion import invert
from separable.layers import SeparableLayer
from separable.serving.description import (
    CoordinateRange,
    Known,
    Uncertainty,
    described_coordinates,
    described_outputs,
)

Array = NDArray[np.float64]

_STARTS, _STEPS = 16, 20  # of the inversion of the layer, for each solution: quick, since what follows is exact
_POLISHING = 4  # Newton steps on the function itself, after the inversion of its layer
_CLOSE = 1e-6  # a solution misses the target by at most this share of the spread of values,
_ROUNDING = 1e-12  # and this share of the target


@dataclasses.dataclass(frozen=True)
class Found:
    """Inputs that give a wanted value, best first; where there are none, the nearest.

    Args:
        inputs: ``(S, D)``.
        values: ``(S, O)`` there.
        converged: ``(S,)``, whether the value is the wanted one.
        seen: ``(2, O)``, least and greatest value met within the bounds.
    """

    inputs: Array
    values: Array
    converged: NDArray[np.bool_]
    seen: Array


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A fitted function that knows its coordinates; made by `Surrogate.of` or `Surrogate.load`.

    Args:
        layer: The function on the scale of the link, in float64.
        coordinates: Its D inputs.
        values: Names and units of its O outputs.
        uncertainty: What is known of its error.
        link: The transform of the value; one output if it is not the identity.
        reach: Limits within which the layer's value is kept.
        posterior: Where the values and their intervals come from a posterior: the layer is then its mean, compressed.

    Example:
        >>> import torch, separable
        >>> x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
        >>> grown = separable.grow(x, x[:, 0] * (1 + x[:, 1]))
        >>> surrogate = Surrogate.of(grown, names=["width", "height"], units=["m", "m"], value="area", value_unit="m2")
        >>> surrogate.evaluate([[0.5, 0.5]])[0].round(4)
        array([[0.75]])
        >>> surrogate.inverse(0.75, fixed={"width": 0.5}).inputs.round(4)
        array([[0.5, 0.5]])
    """

    layer: SeparableLayer
    coordinates: tuple[CoordinateRange, ...]
    values: tuple[tuple[str, str], ...]
    uncertainty: Uncertainty
    link: Link = LINKS["identity"]
    reach: tuple[float, float] = (-math.inf, math.inf)
    posterior: Posterior | None = None

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        names: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        ranges: Sequence[tuple[float, float]] | None = None,
        value: str | Sequence[str] | None = None,
        value_unit: str | Sequence[str] | None = None,
    ) -> "Surrogate":
        """Whatever was fitted, as a surrogate.

        Args:
            model: A `SeparableLayer`, a `Grown`, a `Posterior`, a `Solution` or a fitted `SeparableRegressor`, of which
                the coordinates are those of its ``encode`` (a gap in a column is one more).
            names: Of the coordinates; by default those that the model knows, or x0, x1 and so on.
            units: Of the coordinates.
            ranges: Least and greatest value of each; by default the domains of the atoms, of an estimator's columns
                without what is unknown or missing. Needed where the layer learns its coordinates.
            value: Name of the output, or one for each.
            value_unit: Its unit, or one for each.

        Raises:
            TypeError: If the model is nothing of that.
            ValueError: If names, units or ranges do not fit it.
        """
        link, reach, posterior, known = LINKS["identity"], (-math.inf, math.inf), None, Known()
        uncertainty = Uncertainty("none", "nothing is known of the error")
        if isinstance(model, Solution):
            layer = model.layer
            known = Known(model.names, model.units, (model.name,))
            if math.isfinite(model.error_estimate):
                meaning = "estimated relative L2 error over the whole domain"
                uncertainty = Uncertainty("error", meaning, model.error_estimate)
        elif isinstance(model, Posterior):
            layer, link, posterior = _mean(model), model.link, model
            known = Known(ranges=model.domain)
            uncertainty = Uncertainty("interval", "limits between which a new value lies with the stated probability")
        elif isinstance(model, Grown):
            layer, link, reach = model.layer, model.link, model.reach
            meaning = "root mean square error on rows that were held out"
            uncertainty = Uncertainty("error", meaning, model.report.validation)
        elif isinstance(model, SeparableLayer):
            layer = model
        elif hasattr(model, "columns_") and hasattr(model, "link_"):
            layer, link, reach = model.layer_, model.link_, model._reach
            labels = {
                c.coordinate: (*map(str, c.categories), "unknown") for c in model.columns_.features if c.categories
            }
            labels |= dict.fromkeys(model.columns_.gaps.values(), ("present", "missing"))
            sizes = model.columns_.tables  # of which the last index, unknown or missing, is nothing to choose
            chosen = (
                (0.0, max(0.0, sizes[j] - 2.0)) if j in sizes else atom.domain for j, atom in enumerate(layer.atoms)
            )
            known = Known(tuple(model.columns_.names), ranges=tuple(chosen), labels=labels)
            if errors := model.held_out_errors_:
                size = errors["grown" if model.order_ is None else "smooth"]
                uncertainty = Uncertainty("error", "root mean square error on rows that were held out", size)
        else:
            raise TypeError(
                "Surrogate.of: expected a SeparableLayer, a Grown, a Posterior, a Solution or a fitted "
                f"SeparableRegressor, got {type(model).__name__}"
            )
        coordinates = described_coordinates(layer, known, names, units, ranges)
        outputs = described_outputs(layer.out_features, known.values if value is None else value, value_unit)
        layer = copy.deepcopy(layer).double().requires_grad_(False)
        return cls(layer, coordinates, outputs, uncertainty, link, reach, posterior)

    # Questions

    def evaluate(self, x: Any, coverage: float = 0.9) -> tuple[Array, Array | None, Array | None]:
        """Values ``(N, O)`` at inputs ``(N, D)`` and, where the fit has intervals, their lower and upper ends.

        Args:
            x: Inputs.
            coverage: Probability with which a new value lies between the ends.

        Raises:
            ValueError: If the inputs are not finite or not ``(N, D)``, or the coverage is not between 0 and 1.
        """
        inputs = self.checked(x)
        if not 0 < coverage < 1:
            raise ValueError(f"coverage: expected a number between 0 and 1, got {coverage:g}")
        if self.posterior is None:
            return self._values(inputs), None, None
        lower, upper = self.posterior.interval(inputs, coverage)
        return self._values(inputs), lower.numpy()[:, None], upper.numpy()[:, None]

    def gradient(self, x: Any) -> Array:
        """Slopes ``(N, O, D)`` of the values at inputs ``(N, D)``, exact from the atoms; zero along categories.

        Raises:
            ValueError: As `evaluate` does.
        """
        return self._slopes(self.checked(x))

    def inverse(
        self,
        target: Any,
        *,
        fixed: Mapping[str, float | str] | None = None,
        bounds: Mapping[str, tuple[float | str, float | str]] | None = None,
        solutions: int = 8,
        seed: int = 0,
    ) -> Found:
        """Inputs that give a wanted value, far apart from one another, by `separable.invert`.

        Args:
            target: The value, or one for each output.
            fixed: Coordinates that are known, by name; a category by its number or its own name.
            bounds: Least and greatest value by name, of categories likewise; by default the ranges, which leave out
                what is unknown or missing.
            solutions: The most that are wanted.
            seed: Of the starting points.

        Raises:
            ValueError: If a name is unknown, a number is none or not finite, or nothing fits together.
        """
        places = self._numbered("fixed", fixed or {}, ())
        limits = self._numbered("bounds", bounds or {}, (2,))
        if isinstance(solutions, bool) or not isinstance(solutions, numbers.Integral) or solutions < 1:
            raise ValueError(f"solutions: expected a whole number of at least 1, got {solutions!r}")
        for c in self.coordinates:
            low, high = limits.get(c.name, c.possible)
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ValueError(f"bounds: expected of {c.name!r} finite numbers, the least first, got {low}, {high}")
            if c.name in places and not low <= places[c.name] <= high:
                raise ValueError(f"fixed: {c.name!r} is {places[c.name]:g}, outside its bounds [{low:g}, {high:g}]")
        wanted = torch.as_tensor(target, dtype=torch.float64).flatten()
        if len(wanted) not in (1, len(self.values)) or not bool(torch.isfinite(wanted).all()):
            raise ValueError(f"target: expected {len(self.values)} finite numbers, got {wanted.tolist()}")
        if not self.link.valid(wanted):
            raise ValueError(f"target: expected values that are {self.link.requires}, got {wanted.tolist()}")
        box = np.array([limits.get(c.name, (c.lower, c.upper)) for c in self.coordinates], dtype=np.float64)
        for j, c in enumerate(self.coordinates):
            box[j] = places.get(c.name, box[j])
        goal, starts = self.link.forward(wanted), _STARTS * solutions
        found = invert(self.layer, goal, box, n_solutions=solutions, starts=starts, max_steps=_STEPS, seed=seed)
        seen = np.sort(self.link.inverse(found.seen.clamp(*self.reach)).numpy(), axis=0)
        allowed = _CLOSE * (seen[1] - seen[0]) + _ROUNDING * np.abs(wanted.numpy())
        inputs = self._polished(found.inputs.numpy(), wanted.numpy(), box, allowed)
        values = self._values(torch.from_numpy(inputs))
        converged = (np.abs(values - wanted.numpy()) <= allowed).all(1)
        best_first = np.argsort(~converged, kind="stable")
        return Found(inputs[best_first], values[best_first], converged[best_first], seen)

    def _numbered(self, what: str, given: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Array]:
        """What is given of coordinates, by name, as numbers of this shape."""
        coordinates, found = {c.name: c for c in self.coordinates}, {}
        for name, value in given.items():
            if name not in coordinates:
                raise ValueError(f"{what}: unknown coordinate {name!r}; there are {', '.join(coordinates)}")
            labels, array = coordinates[name].categories or (), np.asarray(value)
            if array.dtype.kind == "U" and all(labels.count(word) == 1 for word in array.flat):
                array = np.array([labels.index(word) for word in array.flat]).reshape(array.shape)
            fine = array.dtype.kind in "fiub" and array.shape == shape
            if not fine or (labels and not np.isin(array, np.arange(len(labels))).all()):
                each = "a category by its number or name" if labels else "a number"
                raise ValueError(f"{what}: expected of {name!r} {'twice ' if shape else ''}{each}, got {value!r}")
            found[name] = array.astype(np.float64)
        return found

    @functools.cached_property
    def _exact(self) -> SeparableLayer:
        """The layer whose slopes are those of the values."""
        return self.layer if self.posterior is None else self.posterior.layer.requires_grad_(False)

    def _values(self, x: torch.Tensor) -> Array:
        with torch.no_grad():
            if self.posterior is not None:
                return self.posterior.predict(x).numpy()[:, None]
            found: Array = self.link.inverse(self.layer(x).clamp(*self.reach)).numpy()
        return found

    def _slopes(self, x: torch.Tensor) -> Array:
        with torch.no_grad():
            f, slopes = self._exact(x), self._exact.jacobian(x)
        f.requires_grad_()  # `Link.slope` is a weight for fits: it stays above 0 where the inverse is held to its range
        (factor,) = torch.autograd.grad(self.link.inverse(f.clamp(*self.reach)).sum(), f)
        found: Array = (slopes * factor[..., None]).numpy()
        return found

    def _polished(self, x: Array, target: Array, box: Array, allowed: Array) -> Array:
        """Least Newton steps within the box, on the function itself; one that does not help is not taken."""
        width = box[:, 1] - box[:, 0]
        gaps = target - self._values(torch.from_numpy(x))
        for _ in range(_POLISHING):
            if (np.abs(gaps) <= 1e-3 * allowed).all():
                break
            slopes = self._slopes(torch.from_numpy(x)) * width
            moved = np.clip(x + width * (np.linalg.pinv(slopes) @ gaps[..., None])[..., 0], box[:, 0], box[:, 1])
            left = target - self._values(torch.from_numpy(moved))
            better = (np.abs(left).max(1) < np.abs(gaps).max(1))[:, None]
            x, gaps = np.where(better, moved, x), np.where(better, left, gaps)
            if not better.any():
                break
        return x

    def checked(self, x: Any) -> torch.Tensor:
        """Inputs ``(N, D)`` as float64; what does not fit is named.

        Raises:
            ValueError: If they are not numbers, not finite, no category where there are some, or of another shape.
        """
        array = np.asarray(x)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"points: expected numbers, got {array.dtype}")
        if array.ndim != 2 or array.shape[1] != len(self.coordinates):
            raise ValueError(f"points: expected shape (N, {len(self.coordinates)}), got {array.shape}")
        array = array.astype(np.float64)
        if not (fine := np.isfinite(array)).all():
            row, j = np.argwhere(~fine)[0]
            raise ValueError(f"points: row {row}, {self.coordinates[j].name!r} is {array[row, j]}")
        for j, coordinate in enumerate(self.coordinates):
            numbered = np.arange(len(coordinate.categories or ()))
            if coordinate.categories and (other := ~np.isin(array[:, j], numbered)).any():
                row = int(np.flatnonzero(other)[0])
                raise ValueError(
                    f"points: row {row}, {coordinate.name!r} holds categories, numbered from 0 to {numbered[-1]}; "
                    f"got {array[row, j]}"
                )
        return torch.from_numpy(array)

    # Keeping

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the layer (``config.json``, ``model.safetensors``), ``surrogate.json`` and, if any, the posterior.

        Nothing in these files can be executed. ``surrogate.json`` knows the others by a checksum: one that is saved
        into the folder later, by itself, is not taken for a part of the surrogate.
        """
        self.layer.save(folder)
        if self.posterior is not None:
            self.posterior.save(folder)
        facts = {
            "coordinates": [dataclasses.asdict(c) for c in self.coordinates],
            "values": self.values,
            "uncertainty": dataclasses.asdict(self.uncertainty),
            "link": self.link.name,
            "reach": [end if math.isfinite(end) else None for end in self.reach],
            "posterior": self.posterior is not None,
            "parts": _parts(folder, self.posterior is not None),
        }
        write_checked(folder, "surrogate", facts, {})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Surrogate":
        """Read a surrogate, or make one of what `SeparableLayer`, `Posterior` or `Solution` saved.

        Raises:
            FileNotFoundError: If the folder holds nothing of that, or a file is missing.
            ValueError: If a file is damaged, of another version, or was not saved with the others.
        """
        folder = Path(folder)
        if (folder / "surrogate.json").exists():
            return cls._read(folder)
        if (folder / "solution.json").exists():
            return cls.of(Solution.load(folder))
        if (folder / "posterior.json").exists():
            return cls.of(Posterior.load(folder))
        if (folder / "model.safetensors").exists():
            return cls.of(SeparableLayer.load(folder))
        raise FileNotFoundError(
            f"{folder}: no surrogate; expected what `save` of a Surrogate, SeparableLayer, Posterior or Solution wrote"
        )

    @classmethod
    def _read(cls, folder: Path) -> "Surrogate":
        facts, _ = read_checked(folder, "surrogate")
        with refusing(folder, "a surrogate"):
            coordinates = []
            for fact in facts["coordinates"]:
                labels = fact.pop("categories")
                coordinates.append(CoordinateRange(**fact, categories=None if labels is None else tuple(labels)))
            low, high = facts["reach"]
            # Folders of before there were checksums name no parts.
            if "parts" in facts and facts["parts"] != _parts(folder, facts["posterior"]):
                raise ValueError("its layer or posterior was saved over by another; save the surrogate again")
            layer = SeparableLayer.load(folder)
            if layer.in_features != len(coordinates) or layer.out_features != len(facts["values"]):
                raise ValueError(f"its layer has {layer.in_features} inputs and {layer.out_features} outputs")
            return cls(
                layer.double().requires_grad_(False),
                tuple(coordinates),
                tuple((name, unit) for name, unit in facts["values"]),
                Uncertainty(**facts["uncertainty"]),
                LINKS[facts["link"]],
                (-math.inf if low is None else low, math.inf if high is None else high),
                Posterior.load(folder) if facts["posterior"] else None,
            )


def _parts(folder: str | os.PathLike[str], posterior: bool) -> dict[str, str]:
    """Checksums of the files of a layer and a posterior that hold those of all their numbers."""
    names = ("config.json", "posterior.json") if posterior else ("config.json",)
    return {name: hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() for name in names}


def _mean(posterior: Posterior) -> SeparableLayer:
    """A small layer of the mean to invert; the exact one where none keeps close to it."""
    try:
        return posterior.compressed()
    except ValueError:
        return posterior.layer
