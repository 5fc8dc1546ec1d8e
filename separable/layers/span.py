"""SPAN: learned coordinates in (0, 1), a KHRONOS layer on them, a linear readout.

    z = squash(V x + v)      z (.., d) in (0, 1)^d,        y = Khronos(z)

Source: Mostakim, Batley and Saha, Agile Reinforcement Learning through Separable Neural Architecture (2026,
arXiv:2601.23225), used for both the actor and the critic. The paper gives the parts; their order is read off its text.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from separable.layers.coordinates import LearnedCoordinates
from separable.layers.khronos import Khronos


class Span(nn.Module):
    """A drop-in for a small perceptron: linear, squash, separable splines, linear.

    Args:
        in_features: Number of inputs, on any scale near one.
        out_features: Number O of outputs.
        coordinates: Number d of learned coordinates.
        grid_points: Kernels per coordinate.
        rank: Number of modes.
        squash: ``sigmoid``, or ``tanh`` carried from (-1, 1) onto (0, 1), which is a sigmoid twice as steep.
        generator: Source of random numbers for the start values.
        device: Where the parameters live.
        dtype: Type of the parameters; inputs have the same.

    Start values: `LearnedCoordinates` (torch.nn.Linear's) and `Khronos`.

    Cautions: with those start values the coordinates of unit-variance inputs fill only the middle third of (0, 1), so
    the outer kernels learn late; the squash's gradient vanishes at the ends, so scale the inputs first. The numbers of
    coordinates, kernels and modes are not given in the source: 8 to 32 coordinates, 8 kernels and 16 to 64 modes are
    ours. `SeparableLayer` with `coordinates=LearnedCoordinates(..)` is the same idea on boundary-exact splines.

    Example:
        >>> import torch
        >>> from separable.layers import Span
        >>> policy = Span(11, 3, coordinates=8, grid_points=8, rank=32)
        >>> policy(torch.randn(5, 11)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        coordinates: int,
        grid_points: int = 8,
        rank: int = 32,
        squash: Literal["sigmoid", "tanh"] = "sigmoid",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if squash not in ("sigmoid", "tanh"):
            raise ValueError(f"Span: squash is 'sigmoid' or 'tanh', got {squash!r}; the kernels live on [0, 1]")
        self.coordinates = LearnedCoordinates(
            in_features, coordinates, squash, generator=generator, device=device, dtype=dtype
        )
        self.khronos = Khronos(
            coordinates, out_features, grid_points, rank, generator=generator, device=device, dtype=dtype
        )
        if generator is None:  # a second draw, which the start values of seeded runs have always been
            self.khronos.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(..., O)`` for inputs ``(..., D_in)``.

        Raises:
            ValueError: If the last axis is not D_in.
        """
        if x.shape[-1:] != (self.coordinates.in_features,):
            raise ValueError(f"Span: expected inputs (..., {self.coordinates.in_features}), got {tuple(x.shape)}")
        z = self.coordinates(x)
        if self.coordinates.squash == "tanh":
            z = (z + 1) / 2
        outputs: Tensor = self.khronos(z)
        return outputs
