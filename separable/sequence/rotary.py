"""Rotary positions: queries and keys are turned by angles that grow with their place, so that products know distances.

For heads of even width h, place t and pair p of 0 .. h/2 - 1 (feature p with feature p + h/2, as in LLaMA):

    angle_(t,p) = t base^(-2 p / h)
    (u, v) -> (u cos angle - v sin angle,  u sin angle + v cos angle)

The product of a query at t and a key at s depends on t - s alone.

Source: Su et al., RoFormer (2021, arXiv:2104.09864), equation 34, with the pairs laid out in halves.
"""

import torch
from torch import Tensor


def rotary_angles(
    start: int, count: int, head_width: int, base: float, *, device: torch.device | None = None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``(count, head_width / 2)`` for the places ``start .. start + count - 1``.

    Angles are computed in float32 at least: in bfloat16 neighbouring places beyond 256 would fall together.

    Example:
        >>> cosine, sine = rotary_angles(0, 3, 4, 10000.0, dtype=torch.float32)
        >>> cosine.shape, float(cosine[0, 0]), float(sine[0, 0])
        (torch.Size([3, 2]), 1.0, 0.0)
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    exponent = torch.arange(0, head_width, 2, device=device, dtype=wide) / head_width
    place = torch.arange(start, start + count, device=device, dtype=wide)
    angle = place[:, None] * base**-exponent
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys ``(..., T, head_width)`` turned by the angles ``(T, head_width / 2)`` of their places."""
    cosine, sine = (part.to(x.dtype) for part in angles)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)
