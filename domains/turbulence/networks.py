"""Networks of forecasters that act on values at points: what they have in common, and the separable operator as one.

A network maps fields ``(B, inputs, *grid)`` and, where it is conditioned, a vector ``(B, condition)`` to fields
``(B, outputs, *grid)``. Some take more fields in before their last layer, ``(m B, late, *grid)`` of m members of every
sample, and then give ``(m B, outputs, *grid)``. A network starts as zero, so that an untrained forecaster, which adds
it to the last frame, gives persistence.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from domains.turbulence.learned_forecaster import inner_modes_of, modes_of
from domains.turbulence.model import OperatorConfig, SeparableOperator
from domains.turbulence.readers import FlowData

Self = TypeVar("Self", bound="NetworkConfig")


class NetworkConfig(ABC):
    """Sizes of a network: a frozen dataclass."""

    def completed(self: Self, data: FlowData) -> Self:
        """The same, with what is left to the data filled in."""
        return self

    @abstractmethod
    def made(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        dimensions: int,
        generator: torch.Generator | None = None,
        late: int = 0,
    ) -> nn.Module:
        """A network that gives zero.

        Args:
            inputs: fields that go in.
            outputs: fields that come out.
            condition: length of the vector that conditions it; 0 for none.
            dimensions: 1 or 2, of the grid.
            generator: of the start values.
            late: fields that go in before the last layer.

        Raises:
            ValueError: the network takes none.
        """


@dataclasses.dataclass(frozen=True)
class SeparableNetwork(NetworkConfig):
    """The separable quadratic operator, see `model`.

    Attributes:
        channels: C.
        products: M, pointwise products in a block.
        order: of the interaction; 2 for products of two filtered fields, 1 for GELU of one.
        blocks: L.
        rounds: times that they are applied.
        fine: of these on all modes.
        inner: (m_y, m_x) or (m_x,) of the others; by default those that hold 98.8 % of the variance.
        modes: (m_y, m_x) or (m_x,) that are changed; by default those that the data hold.
        reach: of the filters' start values, in taps.
    """

    channels: int = 16
    products: int = 12
    blocks: int = 12
    rounds: int = 1
    fine: int = 2
    inner: tuple[int, ...] | None = None
    modes: tuple[int, ...] = ()
    reach: float = 2.0
    order: int = 2

    def completed(self, data: FlowData) -> SeparableNetwork:
        """See `NetworkConfig`."""
        modes = self.modes or modes_of(data)
        inner = inner_modes_of(data, modes) if self.inner is None else self.inner
        return dataclasses.replace(self, modes=modes, inner=inner)

    def made(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        dimensions: int,
        generator: torch.Generator | None = None,
        late: int = 0,
    ) -> nn.Module:
        """See `NetworkConfig`."""
        if len(self.modes) != dimensions:
            raise ValueError(f"modes: expected {dimensions} numbers, got {self.modes}")
        sizes = dataclasses.asdict(self) | {"inner": self.inner or ()}
        config = OperatorConfig(inputs, outputs, condition=condition, late=late, **sizes)
        return _OnPoints(SeparableOperator(config, generator))


class _OnPoints(nn.Module):
    """The operator between fields instead of coefficients."""

    def __init__(self, operator: SeparableOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, fields: Tensor, condition: Tensor | None = None, late: Tensor | None = None) -> Tensor:
        found: Tensor = self.operator.on_points(fields, condition, late)
        return found
