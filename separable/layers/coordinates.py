"""Learned coordinates: a linear map and a squash before the atoms."""

import operator

import torch
from torch import Tensor, nn

_SQUASHES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "none": None}


class LearnedCoordinates(nn.Module):
    """New coordinates ``z = squash(x W^T + b)``, learned with the layer that they feed.

    Source: SPAN (arXiv:2601.23225), a fully connected layer before the separable spline layer. Separability depends on
    the coordinates; this finds them when the given ones are not the right ones.

    Args:
        in_features: Number of inputs.
        out_features: Number D of coordinates.
        squash: ``sigmoid`` onto (0, 1), ``tanh`` onto (-1, 1), or ``none``, where the atoms' policy outside their
            domain takes over.
        generator: Source of random numbers.

    Start values: torch.nn.Linear's.

    Example:
        >>> import torch
        >>> from separable.layers import LearnedCoordinates
        >>> LearnedCoordinates(5, 2)(torch.zeros(3, 5)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        squash: str = "sigmoid",
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        in_features, out_features = operator.index(in_features), operator.index(out_features)  # numpy's are not saved
        if in_features < 1 or out_features < 1:
            raise ValueError(f"LearnedCoordinates: sizes are positive, got {in_features} -> {out_features}")
        if squash not in _SQUASHES:
            raise ValueError(f"LearnedCoordinates: squash is one of {', '.join(_SQUASHES)}; got {squash!r}")
        self.in_features, self.out_features, self.squash = in_features, out_features, squash
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype))
        bound = in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    @property
    def range(self) -> tuple[float, float] | None:
        """The interval that the squash maps onto; None without a squash."""
        return _SQUASHES[self.squash]

    def forward(self, x: Tensor) -> Tensor:
        """Coordinates ``(..., D)`` from inputs ``(..., D_in)``."""
        z = nn.functional.linear(x, self.weight, self.bias)
        if self.squash == "sigmoid":
            return torch.sigmoid(z)
        return torch.tanh(z) if self.squash == "tanh" else z

    def slope(self, z: Tensor) -> Tensor:
        """Derivative of the squash, ``(..., D)``, at the coordinates ``z (..., D)`` that it gave."""
        if self.squash == "sigmoid":
            return z * (1 - z)
        return 1 - z * z if self.squash == "tanh" else torch.ones_like(z)

    def config(self) -> dict[str, int | str]:
        """The map as plain data."""
        return {"in_features": self.in_features, "out_features": self.out_features, "squash": self.squash}
