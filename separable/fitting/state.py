"""The float64 copy of a layer that fitting works on, and the data seen through its atoms."""

import copy
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from separable.fitting.rows import Batch, Rows
from separable.interactions import Interaction
from separable.layers import SeparableLayer


@dataclasses.dataclass
class State:
    """Everything in which a layer is multilinear, in float64 and detached.

    Args:
        layer: A float64 twin of the layer; its atoms and learned coordinates are used.
        interaction: The layer's interaction, or the same at a lower rank while the rank is grown.
        coefficients: ``C_j (K_j, Q_j)`` for each coordinate.
        core: The interaction's core ``(.., O)``.
        bias: ``(O,)``; zeros that are never moved if the layer has none.
    """

    layer: SeparableLayer
    interaction: Interaction
    coefficients: list[Tensor]
    core: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: SeparableLayer) -> "State":
        """A float64 copy of the layer as it stands."""
        twin = copy.deepcopy(layer).double()
        for parameter in twin.parameters():
            parameter.requires_grad_(False)
        bias = twin.core.new_zeros(layer.out_features) if twin.bias is None else twin.bias.detach().clone()
        coefficients = [twin.expansion.coefficient(j).detach().clone() for j in range(twin.n_coordinates)]
        return cls(twin, twin.interaction, coefficients, twin.core.detach().clone(), bias)

    def clone(self) -> "State":
        """An independent copy of the numbers (the layer is shared)."""
        coefficients = [c.clone() for c in self.coefficients]
        return State(self.layer, self.interaction, coefficients, self.core.clone(), self.bias.clone())

    def restart(self, interaction: Interaction, generator: torch.Generator) -> None:
        """Forget the numbers: start values at another rank, with no bias."""
        self.interaction = interaction
        self.coefficients = self._fresh(interaction, generator)
        sizes = self.layer.n_coordinates, self.layer.out_features
        self.core = interaction.initial_core(*sizes, generator).to(self.core)
        self.bias = torch.zeros_like(self.bias)

    def _fresh(self, interaction: Interaction, generator: torch.Generator) -> list[Tensor]:
        coordinates, outputs = self.layer.n_coordinates, self.layer.out_features
        starts = [interaction.initial_factor(j, coordinates, outputs) for j in range(coordinates)]
        means, spreads = zip(*starts, strict=True)
        return [value.to(self.core) for value in self.layer.expansion.start_values(means, spreads, generator)]

    def grow(self, interaction: Interaction, noise: float, generator: torch.Generator) -> None:
        """Take a higher rank; with no noise the function stays the same."""
        fresh = self._fresh(interaction, generator)
        self.coefficients, self.core = self.interaction.grown(
            self.coefficients, self.core, interaction, fresh, noise, generator
        )
        self.interaction = interaction

    def write(self, layer: SeparableLayer) -> None:
        """Put the numbers, learned coordinates and learned atoms into a layer of the same form, in its dtype.

        Raises:
            ValueError: If a number is beyond that dtype; the layer is as it was.
        """
        pairs = [(layer.expansion.coefficient(j), c) for j, c in enumerate(self.coefficients)]
        pairs.append((layer.core, self.core))
        if layer.bias is not None:
            pairs.append((layer.bias, self.bias))
        for target, source in (
            (layer.coordinates, self.layer.coordinates),
            (layer.expansion.atom_parameters, self.layer.expansion.atom_parameters),
        ):
            if target is not None and source is not None:
                pairs += zip(target.parameters(), source.parameters(), strict=True)
        for old, new in pairs:
            if not bool(new.to(old.dtype).isfinite().all()):
                raise ValueError(
                    f"fit: a number of {float(new.abs().max()):.3g} is beyond the layer's {old.dtype}; "
                    "fit targets of a smaller unit, or a layer of a wider dtype"
                )
        with torch.no_grad():
            for old, new in pairs:
                old.copy_(new)

    @property
    def parameters(self) -> int:
        """Number of coefficients, with core and bias."""
        return sum(c.numel() for c in self.coefficients) + self.core.numel() + self.bias.numel()

    def values(self, factors: list[Tensor]) -> Tensor:
        """Outputs ``(n, O)`` from factor values."""
        return self.interaction.contract(factors, self.core) + self.bias

    def bases(self, x: Tensor) -> list[Tensor]:
        """Atom values ``(n, K_j)`` of every coordinate at inputs ``(n, D_in)``."""
        z = x if self.layer.coordinates is None else self.layer.coordinates(x)
        return [self.layer.expansion.basis(z[:, j], j) for j in range(len(self.coefficients))]

    def factors(self, bases: list[Tensor]) -> list[Tensor]:
        """Factor values ``(n, Q_j)``."""
        return [basis @ c for basis, c in zip(bases, self.coefficients, strict=True)]

    def predict(self, x: Tensor) -> Tensor:
        """Outputs ``(n, O)`` at inputs ``(n, D_in)``."""
        return self.values(self.factors(self.bases(x)))


class Seen:
    """Rows with their atom values: computed once when they fit in memory, and afresh for every batch otherwise.

    Args:
        rows: The data.
        state: Supplies the atoms (and learned coordinates, which must not move while this is used).
    """

    def __init__(self, rows: Rows, state: State) -> None:
        self.rows, self._state = rows, state
        self._kept = None if rows.single is None else state.bases(rows.single[0])

    def __iter__(self) -> Iterator[tuple[list[Tensor], Batch]]:
        """Atom values and the batch they belong to."""
        if self._kept is not None:
            assert self.rows.single is not None
            yield self._kept, self.rows.single
            return
        for batch in self.rows:
            yield self._state.bases(batch[0]), batch

    @property
    def in_memory(self) -> bool:
        """Whether all rows are one batch that is kept."""
        return self._kept is not None

    def squared_error(self, state: State) -> float:
        """Weighted sum of squared errors over rows and outputs."""
        return sum(
            float((w[:, None] * (y - state.values(state.factors(bases))) ** 2).sum()) for bases, (_, y, w) in self
        )

    def root_mean_square(self, state: State) -> float:
        """Weighted root mean square error over rows and outputs."""
        return float((self.squared_error(state) / (self.rows.total_weight * self.rows.outputs)) ** 0.5)
