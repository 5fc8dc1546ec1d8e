"""The separable layer: functions of many coordinates from functions of one coordinate each.

    f(x) = M(B(z_1) C_1, .., B(z_D) C_D; core) + bias,      z = x or learned coordinates of x

with atoms B (`separable.atoms`), coefficients ``C_j (K_j, Q_j)`` and an interaction M (`separable.interactions`). The
layer is linear in each ``C_j`` and in the core while the rest is held, which is what closed-form fitting, exact partial
derivatives, integrals, grids and refinement rest on.
"""

import hashlib
import itertools
import json
import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from separable import atoms as atom_families
from separable import interactions as interaction_families
from separable.atomic_files import write_together
from separable.atoms import Atom
from separable.files import plain_tensors, read_json, refusing
from separable.interactions import CanonicalPolyadic, Interaction
from separable.layers.coordinates import LearnedCoordinates
from separable.layers.expansion import Expansion

_VERSION = 1  # of the files that `SeparableLayer.save` writes
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


class SeparableLayer(nn.Module):
    """A separable neural architecture as one torch module.

    Args:
        in_features: Number of inputs.
        out_features: Number O of outputs.
        atoms: One atom for all coordinates, or a list with one for each of the D coordinates.
        interaction: How the coordinates combine.
        coordinates: A learned map from the inputs to the D coordinates; None takes the inputs themselves.
        bias: Whether a constant is added to each output.
        generator: Source of random numbers for the start values.
        device: Where the parameters live.
        dtype: Type of the parameters; inputs have the same.

    Start values are those of the interaction: see `CanonicalPolyadic`, `Tucker` and `TensorTrain`.

    Example:
        >>> import torch
        >>> from separable.atoms import BSpline
        >>> from separable.interactions import CanonicalPolyadic
        >>> from separable.layers import SeparableLayer
        >>> layer = SeparableLayer(3, 2, atoms=BSpline(intervals=4), interaction=CanonicalPolyadic(rank=5))
        >>> layer(torch.rand(10, 3)).shape
        torch.Size([10, 2])
        >>> layer.on_grid([torch.linspace(0, 1, n) for n in (4, 5, 6)]).shape
        torch.Size([4, 5, 6, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        atoms: Atom | Sequence[Atom],
        interaction: Interaction,
        coordinates: LearnedCoordinates | None = None,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(interaction, Interaction):
            raise ValueError(f"SeparableLayer: interaction is one of separable.interactions, got {interaction!r}")
        in_features, out_features = operator.index(in_features), operator.index(out_features)  # numpy's are not saved
        if in_features < 1 or out_features < 1:
            raise ValueError(f"SeparableLayer: sizes are positive, got {in_features} -> {out_features}")
        if coordinates is not None and coordinates.in_features != in_features:
            raise ValueError(
                f"SeparableLayer: the coordinates take {coordinates.in_features} inputs, the layer {in_features}"
            )
        n_coordinates = in_features if coordinates is None else coordinates.out_features
        atoms = [atoms] * n_coordinates if isinstance(atoms, Atom) else list(atoms)
        if len(atoms) != n_coordinates:
            raise ValueError(f"SeparableLayer: {len(atoms)} atoms for {n_coordinates} coordinates")
        if strangers := [atom for atom in atoms if not isinstance(atom, Atom)]:
            raise ValueError(f"SeparableLayer: atoms are from separable.atoms, got {strangers[0]!r}")
        self.in_features, self.out_features, self.n_coordinates = in_features, out_features, n_coordinates
        self.interaction, self.coordinates = interaction, coordinates
        self.expansion = Expansion(atoms, interaction.widths(n_coordinates, out_features))
        starts = [interaction.initial_factor(j, n_coordinates, out_features) for j in range(n_coordinates)]
        self.expansion.initialise([mean for mean, _ in starts], [spread for _, spread in starts], generator)
        self.core = nn.Parameter(interaction.initial_core(n_coordinates, out_features, generator))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.to(device=device, dtype=dtype or torch.get_default_dtype())

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The atom of each coordinate."""
        return self.expansion.atoms

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes and parts, for printing."""
        return f"{self.in_features} -> {self.out_features}, {self.interaction}, {self.n_parameters} parameters"

    # Values

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(..., O)`` for inputs ``(..., D_in)``.

        Raises:
            ValueError: If the last axis is not D_in.
            TypeError: If the dtype is not the parameters' dtype.
        """
        z = self._coordinates_of(x)
        if isinstance(self.interaction, CanonicalPolyadic) and self.interaction.order == 1:
            outputs = self.expansion.sums(z) @ self.core
        else:
            factors = self.expansion.factors(z)
            if isinstance(factors, Tensor) and not isinstance(self.interaction, CanonicalPolyadic):
                factors = list(factors.unbind(-2))
            outputs = self.interaction.contract(factors, self.core)  # type: ignore[arg-type]
        return outputs if self.bias is None else outputs + self.bias

    def _coordinates_of(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"SeparableLayer: expected inputs (..., {self.in_features}), got {tuple(x.shape)}")
        self._check_dtype(x)
        return x if self.coordinates is None else self.coordinates(x)

    def _check_dtype(self, x: Tensor) -> None:
        if x.dtype != self.core.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"SeparableLayer: inputs are {x.dtype}, parameters {self.core.dtype}; convert one of them")

    def on_grid(self, axes: Sequence[Tensor]) -> Tensor:
        """Values on the grid of D axes, every factor evaluated once per axis.

        Args:
            axes: D tensors ``(n_j,)``.

        Returns:
            Values of shape ``(n_1, .., n_D, O)``.

        Raises:
            ValueError: If the number of axes is not D, or the coordinates are learned (the grid's points are then not a
                grid of coordinates).
            TypeError: If an axis's dtype is not the parameters' dtype.
        """
        self._require_own_coordinates("on_grid")
        if len(axes) != self.n_coordinates or any(axis.ndim != 1 for axis in axes):
            raise ValueError(
                f"SeparableLayer.on_grid: expected {self.n_coordinates} axes of shape (n,), "
                f"got {[tuple(a.shape) for a in axes]}"
            )
        for axis in axes:
            self._check_dtype(axis)
        values = self.interaction.on_grid([self.expansion.factor(a, j) for j, a in enumerate(axes)], self.core)
        return values if self.bias is None else values + self.bias

    # Derivatives and integrals

    def derivative(self, x: Tensor, orders: Sequence[int]) -> Tensor:
        """The exact mixed partial derivative, from the derivatives of the atoms.

        Args:
            x: Inputs ``(..., D)``.
            orders: Order of differentiation in each coordinate, such as (1, 0, 2).

        Returns:
            Values of shape ``(..., O)``.

        Raises:
            ValueError: If the number of orders is not D, a coordinate to be differentiated is discrete, or the
                coordinates are learned (use ``torch.func.jacrev`` there).
        """
        self._require_own_coordinates("derivative")
        z = self._coordinates_of(x)
        if len(orders) != self.n_coordinates or min(orders) < 0:
            raise ValueError(
                f"SeparableLayer.derivative: expected {self.n_coordinates} orders of at least 0, got {tuple(orders)}"
            )
        factors = [self.expansion.factor(z[..., j], j, order) for j, order in enumerate(orders)]
        units = [0.0 if order else 1.0 for order in orders]
        values = self.interaction.contract(factors, self.core, units)
        return values if self.bias is None or any(orders) else values + self.bias

    def jacobian(self, x: Tensor) -> Tensor:
        """The exact Jacobian ``(..., O, D_in)`` at inputs ``(..., D_in)``, through learned coordinates as well.

        The slope along a discrete coordinate is zero.
        """
        z = self._coordinates_of(x)
        found = (self.expansion.factors(z, order) for order in (0, 1))
        factors, slopes = (list(each.unbind(-2)) if isinstance(each, Tensor) else each for each in found)
        running, columns = self.interaction.sweep(factors, self.core), []
        for j, slope in enumerate(slopes):
            weight, _ = running.environment(j)
            columns.append((slope[..., None, :] @ weight)[..., 0, :])
            running.replace(j, factors[j])
        jacobian = torch.stack(columns, dim=-1)
        if self.coordinates is None:
            return jacobian
        return (jacobian * self.coordinates.slope(z)[..., None, :]) @ self.coordinates.weight

    def integral(self, lower: Sequence[float] | None = None, upper: Sequence[float] | None = None) -> Tensor:
        """The integral ``(O,)`` over a box, by default the whole domain, from the integrals of the atoms.

        A discrete coordinate is summed over its categories.

        Raises:
            ValueError: If there are not D limits, one lies outside the domain, a lower one exceeds its upper one, or
                the coordinates are learned.
        """
        self._require_own_coordinates("integral")
        for name, ends in (("lower", lower), ("upper", upper)):
            if ends is not None and len(ends) != self.n_coordinates:
                raise ValueError(
                    f"SeparableLayer.integral: expected {self.n_coordinates} {name} limits, got {len(ends)}"
                )
        factors, units = [], []
        for j, atom in enumerate(self.atoms):
            a, b = (None if ends is None else ends[j] for ends in (lower, upper))
            factors.append(self._integrals(j, a, b) @ self.expansion.coefficient(j))
            units.append(atom.measure(a, b))
        values = self.interaction.contract(factors, self.core, units)
        return values if self.bias is None else values + self.bias * math.prod(units)

    def averaged(self, x: Tensor, over: Sequence[int]) -> Tensor:
        """Values with some coordinates averaged uniformly over their domain: marginal effects, exactly.

        Args:
            x: Inputs ``(..., D)``; the columns named in ``over`` are not read.
            over: Indices of the coordinates to average over.

        Returns:
            Values of shape ``(..., O)``.

        Raises:
            ValueError: If an index is not one of 0 .. D - 1, or the coordinates are learned.
        """
        self._require_own_coordinates("averaged")
        if unknown := sorted(set(over) - set(range(self.n_coordinates))):
            raise ValueError(
                f"SeparableLayer.averaged: coordinates are 0 .. {self.n_coordinates - 1}, got {unknown} in over"
            )
        z, averaged = self._coordinates_of(x), set(over)
        factors = []
        for j in range(self.n_coordinates):
            if j in averaged:
                mean = self._integrals(j) @ self.expansion.coefficient(j) / self.atoms[j].measure()
                factors.append(mean.expand(*z.shape[:-1], -1))
            else:
                factors.append(self.expansion.factor(z[..., j], j))
        values = self.interaction.contract(factors, self.core)
        return values if self.bias is None else values + self.bias

    def _integrals(self, j: int, lower: float | None = None, upper: float | None = None) -> Tensor:
        return self.atoms[j].integral(lower, upper, self.expansion.parameters_of(j)).to(self.core)

    def _require_own_coordinates(self, method: str) -> None:
        if self.coordinates is not None:
            raise ValueError(
                f"SeparableLayer.{method} needs the inputs themselves as coordinates; this layer learns its coordinates"
            )

    # The same function elsewhere

    def refined(self, **changes: Any) -> "SeparableLayer":
        """The same function on finer atoms, to rounding.

        Args:
            **changes: Fields of the atoms to change, such as ``intervals=32``; every atom takes those that its family
                has. Discrete and learned atoms are left as they are.

        Raises:
            ValueError: If no atom has one of the fields, or finer atoms do not contain the present ones.
        """
        pairs: dict[Atom, tuple[Atom, Tensor | None]] = {}
        taken: set[str] = set()
        for atom in dict.fromkeys(self.atoms):
            own = {} if atom.discrete or atom.learned else {k: v for k, v in changes.items() if k in atom.fields()}
            taken.update(own)
            pairs[atom] = atom.refined(**own) if own else (atom, None)
        if missing := sorted(changes.keys() - taken):
            raise ValueError(f"SeparableLayer.refined: no atom of this layer has the fields {missing} to refine")
        finer = self._empty_like([pairs[atom][0] for atom in self.atoms])
        # Coordinates whose atoms have become equal share a group in the new layer: copy one coordinate at a time.
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("expansion.")}
        finer.load_state_dict(state, strict=False)
        with torch.no_grad():
            for j, atom in enumerate(self.atoms):
                matrix, old = pairs[atom][1], self.expansion.coefficient(j)
                new = old if matrix is None else (matrix.to(old.device) @ old.double()).to(old.dtype)
                finer.expansion.coefficient(j).copy_(new)
                own_parameters = zip(finer.expansion.parameters_of(j), self.expansion.parameters_of(j), strict=True)
                for target, source in own_parameters:
                    target.copy_(source)
        return finer

    def _empty_like(self, atoms: Sequence[Atom]) -> "SeparableLayer":
        with torch.random.fork_rng(devices=[]):  # start values are drawn and overwritten
            coordinates = None if self.coordinates is None else LearnedCoordinates(**self.coordinates.config())  # type: ignore[arg-type]
            return SeparableLayer(
                self.in_features,
                self.out_features,
                atoms=atoms,
                interaction=self.interaction,
                coordinates=coordinates,
                bias=self.bias is not None,
                device=self.core.device,
                dtype=self.core.dtype,
            )

    # Keeping

    def config(self) -> dict[str, Any]:
        """Everything but the parameters, as plain data."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "atoms": [atom.config() for atom in self.atoms],
            "interaction": self.interaction.config(),
            "coordinates": None if self.coordinates is None else self.coordinates.config(),
            "bias": self.bias is not None,
            "dtype": str(self.core.dtype).removeprefix("torch."),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SeparableLayer":
        """A layer with fresh start values from `config`."""
        coordinates = config["coordinates"]
        return cls(
            config["in_features"],
            config["out_features"],
            atoms=[atom_families.from_config(atom) for atom in config["atoms"]],
            interaction=interaction_families.from_config(config["interaction"]),
            coordinates=None if coordinates is None else LearnedCoordinates(**coordinates),
            bias=config["bias"],
            dtype=_DTYPES[config["dtype"]],
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``; an existing copy is replaced only by a complete one.

        ``config.json`` holds the format's version, the layer's `config` and a SHA-256 over both files' content.

        Raises:
            OSError: If a file could not be written: no space, no permission.
        """
        model, config = safetensors.torch.save(plain_tensors(self.state_dict())), self.config()
        description = {"version": _VERSION, "sha256": _digest(config, model), "layer": config}
        described = json.dumps(description, indent=2).encode()
        write_together(folder, {"config.json": described, "model.safetensors": model})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "SeparableLayer":
        """Read what `save` wrote; nothing is executed.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, the two do not belong together, or another version wrote them.
        """
        folder = Path(folder)
        with refusing(folder, "a separable layer"):
            description = read_json(folder / "config.json")
            model = (folder / "model.safetensors").read_bytes()
            if description["version"] != _VERSION:
                raise ValueError(f"it has format version {description['version']}, this library reads {_VERSION}")
            if description["sha256"] != _digest(description["layer"], model):
                raise ValueError("its checksum does not agree with its content")
            with torch.random.fork_rng(devices=[]):  # start values are drawn and overwritten
                layer = cls.from_config(description["layer"])
            layer.load_state_dict(safetensors.torch.load(model))
        return layer

    # Definition

    def dense(self) -> Tensor:
        """The full tensor ``T (K_1, .., K_D, O)`` of coefficients over all products of atoms (slow; for small layers).

        ``f(x) - bias = sum_a T_(a_1 .. a_D) prod_j B_(j,a_j)(x_j)``, where a coordinate that a subset leaves out
        enters through its constant function (`Atom.ones`; `Gaussian` holds none, so there it is an approximation).
        The definition that tests compare with.
        """
        coefficients = [self.expansion.coefficient(j) for j in range(self.n_coordinates)]
        shape = [len(c) for c in coefficients]
        if not isinstance(self.interaction, CanonicalPolyadic) or self.interaction.order is None:
            return self.interaction.on_grid(coefficients, self.core)
        total = self.core.new_zeros(*shape, self.out_features)
        for size in range(1, self.interaction.order + 1):
            for subset in itertools.combinations(range(self.n_coordinates), size):
                product = self.core.new_ones(1, self.interaction.rank)
                for j, c in enumerate(coefficients):
                    entering = c if j in subset else self.atoms[j].ones().to(c)[:, None].expand_as(c)
                    product = (product[:, None] * entering[None]).flatten(0, 1)
                total = total + (product @ self.core).reshape(total.shape)
        return total


def _digest(config: dict[str, Any], model: bytes) -> str:
    """SHA-256 of a layer's configuration, independent of how its JSON is laid out, and of its stored tensors."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode() + model).hexdigest()
