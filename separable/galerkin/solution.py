"""A solved problem: a separable layer that knows its coordinates' names and how far it may be from the truth."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from separable.atomic_files import write_text
from separable.atoms import Atom
from separable.files import checked_text, read_json, refusing
from separable.galerkin.problem import Array
from separable.inversion import Inversion, invert
from separable.layers import SeparableLayer

_BATCH = 32768


@dataclasses.dataclass(frozen=True)
class Solution:
    """What `solve` returns; ask it anywhere in its domain, or take `layer` into other code (`separable.invert` too).

    Args:
        layer: The function, float64, one output; its inputs are the coordinates in order.
        names: Names of the coordinates.
        units: Their units.
        name: Name of the unknown.
        error_estimate: Estimated relative L2 error over all coordinates; NaN if it was not asked for or could not be
            found (``stopped`` tells).
        residual: Relative residual of the discrete problem; NaN where it has too many terms to be measured.
        history: One entry ``(rank, residual)`` for each sweep.
        stopped: Why the solve ended.
        seconds: Wall time of the solve, without the estimate.
        separation_error: Largest relative error of a field that was brought to separable form.
    """

    layer: SeparableLayer
    names: tuple[str, ...]
    units: tuple[str, ...]
    name: str
    error_estimate: float
    residual: float
    history: tuple[tuple[int, float], ...]
    stopped: str
    seconds: float
    separation_error: float = 0.0

    @property
    def rank(self) -> int:
        """Number of products, or largest bond of a tensor train."""
        return int(getattr(self.layer.interaction, "rank"))  # noqa: B009

    def __repr__(self) -> str:
        """One line: the unknown, its coordinates, the rank and the estimate."""
        return (
            f"Solution({self.name}({', '.join(self.names)}), rank {self.rank}, {self.layer.n_parameters} numbers, "
            f"residual {self.residual:.1e}, estimated relative error {self.error_estimate:.1e}; {self.stopped})"
        )

    def _points(self, places: Mapping[str, ArrayLike]) -> tuple[torch.Tensor, tuple[int, ...]]:
        self._complete(places)
        arrays = np.broadcast_arrays(*(np.asarray(places[n], dtype=np.float64) for n in self.names))
        return torch.from_numpy(np.stack([a.ravel() for a in arrays], axis=1)), arrays[0].shape

    def _complete(self, places: Mapping[str, Any], besides: Sequence[str] = ()) -> None:
        given = {*places, *besides}
        if given != set(self.names):
            missing, unknown = set(self.names) - given, given - set(self.names)
            raise ValueError(
                f"{self.name} is a function of {', '.join(self.names)}"
                + (f"; missing {sorted(missing)}" if missing else "")
                + (f"; unknown {sorted(unknown)}" if unknown else "")
            )

    def __call__(self, **places: ArrayLike) -> Any:
        """Values at points: one number or array per coordinate, broadcast against each other.

        Outside the domain the atoms' policy holds (`Atom`).
        """
        return self.derivative({}, **places)

    def derivative(self, orders: Mapping[str, int], **places: ArrayLike) -> Any:
        """The exact partial derivative of the given orders, such as ``{"x": 1, "t": 1}``, at points."""
        unknown = sorted(set(orders) - set(self.names))
        if unknown:
            raise ValueError(f"derivative: unknown coordinates {unknown}; there are {list(self.names)}")
        points, shape = self._points(places)
        each = [orders.get(n, 0) for n in self.names]
        with torch.no_grad():
            parts = [
                self.layer.derivative(x, each) if any(each) else self.layer(x) for x in torch.split(points, _BATCH)
            ]
        values = torch.cat(parts)[:, 0].numpy().reshape(shape)
        return values if shape else float(values)

    def gradient(self, **places: ArrayLike) -> dict[str, Any]:
        """First derivatives in every coordinate at points, by name."""
        return {n: self.derivative({n: 1}, **places) for n in self.names}

    def integral(self, over: Sequence[str] | None = None, **places: ArrayLike) -> Any:
        """The integral over some coordinates (by default all), the others at given places.

        Args:
            over: Names of the coordinates to integrate over their whole domains.
            **places: Numbers or arrays for the others, broadcast against each other.
        """
        over = list(self.names) if over is None else [over] if isinstance(over, str) else list(over)
        if twice := sorted(set(over) & set(places)):
            raise ValueError(f"integral: {', '.join(twice)} are both integrated over and given")
        self._complete(places, over)
        arrays = np.broadcast_arrays(*(np.asarray(places[n], dtype=np.float64) for n in self.names if n not in over))
        shape = arrays[0].shape if arrays else ()
        ready, count = iter(arrays), arrays[0].size if arrays else 1
        factors, expansion = [], self.layer.expansion
        with torch.no_grad():
            for j, n in enumerate(self.names):
                if n in over:
                    factor = (self.layer.atoms[j].integral() @ expansion.coefficient(j)).expand(count, -1)
                else:
                    factor = expansion.factor(torch.from_numpy(next(ready).ravel().copy()), j)
                factors.append(factor)
            values = self.layer.interaction.contract(factors, self.layer.core)[:, 0].numpy().reshape(shape)
        return values if shape else float(values)

    def slice(self, points: int = 101, **places: ArrayLike) -> Any:
        """An xarray Dataset on a grid: a coordinate given as a number is held, as an array is an axis.

        Args:
            points: Equidistant points of a coordinate that is not given, over its domain; a discrete one is at all of
                its categories.
            **places: Numbers and arrays by coordinate.
        """
        import xarray

        unknown = sorted(set(places) - set(self.names))
        if unknown:
            raise ValueError(f"slice: unknown coordinates {unknown}; there are {list(self.names)}")
        axes = {
            n: np.asarray(places[n] if n in places else _spread(atom, points), dtype=np.float64)
            for n, atom in zip(self.names, self.layer.atoms, strict=True)
        }
        kept = [n for n in self.names if axes[n].ndim]
        with torch.no_grad():
            values = self.layer.on_grid([torch.from_numpy(np.atleast_1d(axes[n]).copy()) for n in self.names])
        grid = values.numpy().reshape([len(axes[n]) for n in kept])
        unit = dict(zip(self.names, self.units, strict=True))
        attributes = {"error_estimate": self.error_estimate, "residual": self.residual, "rank": self.rank}
        return xarray.Dataset(
            {self.name: (kept, grid, {"long_name": self.name})},
            coords={n: (n, axes[n], {"units": unit[n]}) if axes[n].ndim else axes[n] for n in self.names},
            attrs=attributes,
        )

    def plot(self, x: str, y: str | None = None, /, points: int = 151, **places: float) -> Any:
        """A matplotlib Figure over one or two coordinates, the others held at given places (by default the middle).

        A discrete coordinate is shown category by category.
        """
        from matplotlib.figure import Figure

        shown = [x] if y is None else [x, y]
        unknown = sorted({*shown, *places} - set(self.names))
        if unknown:
            raise ValueError(f"plot: unknown coordinates {unknown}; there are {list(self.names)}")
        if x == y or set(shown) & set(places):
            raise ValueError(f"plot: expected each coordinate once, shown or held, got {[*shown, *places]}")
        atoms = dict(zip(self.names, self.layer.atoms, strict=True))
        middles = {n: sum(atom.domain) / 2 for n, atom in atoms.items() if n not in shown}
        held = {n: float(middle // 1) if atoms[n].discrete else middle for n, middle in middles.items()}
        held.update(places)
        field = self.slice(points, **held)[self.name].transpose(*reversed(shown))
        unit = dict(zip(self.names, self.units, strict=True))
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(f"{x} [{unit[x]}]")
        if y is None:
            axes.plot(field[x], field, "o" if atoms[x].discrete else "-")
            axes.set_ylabel(self.name)
        else:
            smooth = not (atoms[x].discrete or atoms[y].discrete)
            image = axes.pcolormesh(field[x], field[y], field, shading="gouraud" if smooth else "nearest")
            figure.colorbar(image, label=self.name)
            axes.set_ylabel(f"{y} [{unit[y]}]")
        axes.set_title(", ".join(f"{n} = {value:.4g}" for n, value in held.items()), fontsize=9)
        return figure

    def invert(self, target: float, *, fixed: Mapping[str, float] | None = None, **options: Any) -> Inversion:
        """Places where the function takes a value, by `separable.invert` with coordinates named.

        Args:
            target: The wanted value.
            fixed: Coordinates that are known, by name, such as ``{"nu": 0.05}``.
            **options: Those of `separable.invert`; ``bounds`` is a mapping from names to pairs, by default the domains.

        Returns:
            The places, one column for each coordinate in the order of ``names``, and whether each was reached.

        Raises:
            ValueError: If a name is unknown, or as `separable.invert` does.
        """
        fixed, bounds = dict(fixed or {}), dict(options.pop("bounds", None) or {})
        if unknown := sorted({*fixed, *bounds} - set(self.names)):
            raise ValueError(f"invert: unknown coordinates {unknown}; there are {list(self.names)}")
        box = [bounds.get(n, atom.domain) for n, atom in zip(self.names, self.layer.atoms, strict=True)]
        return invert(self.layer, target, box, {self.names.index(n): v for n, v in fixed.items()}, **options)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the layer (safetensors and ``config.json``) and ``solution.json``; nothing that could be executed."""
        folder = Path(folder)
        self.layer.save(folder)
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "layer"}
        write_text(folder / "solution.json", checked_text(facts))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Solution":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged.
        """
        folder = Path(folder)
        layer = SeparableLayer.load(folder)
        with refusing(folder, "a solution"):
            facts = read_json(folder / "solution.json", "a solution", finite=False)
            for field in ("names", "units"):
                facts[field] = tuple(map(str, facts[field]))
            if not layer.in_features == len(facts["names"]) == len(facts["units"]):
                raise ValueError(f"a function of {layer.in_features} coordinates, with the names {facts['names']}")
            for field in ("error_estimate", "residual", "seconds", "separation_error"):
                facts[field] = float(facts[field])
            for field in ("name", "stopped"):
                facts[field] = str(facts[field])
            facts["history"] = tuple((int(r), float(e)) for r, e in facts["history"])
            return cls(layer=layer, **facts)


def _spread(atom: Atom, points: int) -> Array:
    """Equidistant points over an atom's domain, or all categories of a discrete one."""
    lower, upper = atom.domain
    return np.arange(lower, upper + 1) if atom.discrete else np.linspace(lower, upper, points)


def layer_of(atoms: Sequence[Any], coefficients: Sequence[Array]) -> SeparableLayer:
    """The separable layer of a sum of products with atom coefficients ``(K_j, R)``; scales go to the core."""
    from separable.interactions import CanonicalPolyadic

    rank = coefficients[0].shape[1]
    if rank == 0:
        coefficients, rank = [np.zeros((len(c), 1)) for c in coefficients], 1
    layer = SeparableLayer(
        len(atoms), 1, atoms=list(atoms), interaction=CanonicalPolyadic(rank), bias=False, dtype=torch.float64
    )
    scale = np.ones(rank)
    with torch.no_grad():
        for j, c in enumerate(coefficients):
            size = np.abs(c).max(axis=0)
            size = np.where(size > 0, size, 1.0)
            scale = scale * np.where(np.abs(c).max(axis=0) > 0, size, 0.0)
            layer.expansion.coefficient(j).copy_(torch.from_numpy(c / size))
        layer.core.copy_(torch.from_numpy(scale)[:, None])
    return layer


def layer_of_train(atoms: Sequence[Any], cores: Sequence[Array]) -> SeparableLayer:
    """The separable layer of a tensor train with cores ``(K_j, r, r')``; smaller bonds are filled up with zeros."""
    from separable.interactions import TensorTrain

    train = TensorTrain(max(1, *(core.shape[2] for core in cores)))
    layer = SeparableLayer(len(atoms), 1, atoms=list(atoms), interaction=train, bias=False, dtype=torch.float64)
    with torch.no_grad():
        for j, (core, (rows, columns)) in enumerate(zip(cores, train.shapes(len(atoms), 1), strict=True)):
            padded = np.zeros((len(core), rows, columns))
            padded[:, : core.shape[1], : core.shape[2]] = core
            layer.expansion.coefficient(j).copy_(torch.from_numpy(padded.reshape(len(core), -1)))
        layer.core.fill_(1.0)
    return layer
