"""Rotary positions: queries and keys are turned by angles that grow with their place, so that products know distances.

For heads of even width h, place t and pair p of 0 .. h/2 - 1 (feature p with feature p + h/2, as in LLaMA):

    angle_(t,p) = t base^(-2 p / h)
    (u, v) -> (u cos angle - v sin angle,  u sin angle + v cos angle)

The product of a query at t and a key at s depends on t - s alone.

Source: Su et al., RoFormer (2021, arXiv:2104.09864), equation 34, with the pairs laid out in halves.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_NUMBERS = 2**18  # that are turned at a time on a CPU, and stay in its cache


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
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _Turned.apply(x, cosine, sine)  # type: ignore[no-any-return, no-untyped-call]
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class _Turned(torch.autograd.Function):
    """The rotation on a CPU in half the time: its gradient is the rotation back, and nothing passes through memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Turned, of the same shape."""
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """The gradient for x."""
        cosine, sine = ctx.saved_tensors
        return _turned(slope, cosine, -sine), None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    turned = x.new_empty(x.shape)
    count = max(1, _NUMBERS // max(1, x.shape[1:].numel())) if x.ndim > 2 else len(x)
    for source, target in zip(torch.split(x, count), torch.split(turned, count), strict=True):
        (first, second), (into_first, into_second) = source.chunk(2, -1), target.chunk(2, -1)
        torch.mul(first, cosine, out=into_first).addcmul_(second, sine, value=-1)
        torch.mul(first, sine, out=into_second).addcmul_(second, cosine)
    return turned
