"""What `separable.grow` hands back: the layer, its link, and how the structure was found."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from separable.fitting.links import Link
from separable.fitting.rows import as_tensor
from separable.layers import SeparableLayer


@dataclasses.dataclass(frozen=True)
class Move:
    """One structure that a search tried or started from, after its refinement.

    Args:
        link: Name of the link.
        rank: Number of terms.
        bases: ``(degree, intervals)`` of each coordinate.
        parameters: Numbers in the layer.
        validation: Root mean square error on the held-out rows, in the unit of y, of the best structure so far.
        seconds: Time since the start.
    """

    link: str
    rank: int
    bases: tuple[tuple[int, int], ...]
    parameters: int
    validation: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class GrowthReport:
    """Outcome of `separable.grow`.

    Args:
        path: Every structure of every link, in the order in which they were tried.
        stopped: Why the search of the chosen link ended: ``tolerance`` (reached), ``validation`` (three moves in turn
            did not lower the error), ``parameters`` (no richer structure fits the limit, or the rows), or ``effort``.
        training: Root mean square error on all rows, after the last refinement on all of them.
        validation: The same on the held-out rows, before it.
        rows: Rows of positive weight.
        parameters: Numbers in the layer.
        seconds: Time taken.
    """

    path: tuple[Move, ...]
    stopped: str
    training: float
    validation: float
    rows: int
    parameters: int
    seconds: float

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"rmse {self.training:.3g}, validation {self.validation:.3g} after {len(self.path)} structures, "
            f"{self.seconds:.2f} s ({self.rows} rows, {self.parameters} parameters, stopped: {self.stopped})"
        )


@dataclasses.dataclass(frozen=True)
class Grown:
    """A separable layer with the link on whose scale it works: ``y = link.inverse(layer(x))``.

    Args:
        layer: In float64, on splines of individual degree and intervals over the data's ranges; straight on outside.
        link: The transform of the target: ``layer(x)`` is about ``link.forward(y)``. To invert the layer for a wanted
            y, give `separable.invert` the target ``link.forward(y)``.
        reach: Limits within which `predict` keeps the layer's value, a little wider than the data's, so that a link's
            pole is never met; infinite for the identity.
        report: How the structure was found.
    """

    layer: SeparableLayer
    link: Link
    reach: tuple[float, float]
    report: GrowthReport

    def predict(self, x: Any) -> Tensor:
        """Predictions ``(...)``, float64, for inputs ``(..., D)``; differentiable in a tensor that asks for gradients.

        Raises:
            ValueError: If the last axis is not D.
        """
        core = self.layer.core
        wanted = isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted):
            f = self.layer(as_tensor(x, "x").to(core))[..., 0]
            return self.link.inverse(f.clamp(*self.reach))
