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

from separable.layers.derivatives import looked_into, of_plain, plain_gradient

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
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


def rotated_heads(
    projected: Tensor, angles: tuple[Tensor, Tensor], heads: int, key_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Turned queries ``(B, heads, T, h)`` and keys ``(B, key_heads, T, h)``, and values of the keys' shape.

    Args:
        projected: All heads of a position after one another, ``(B, T, heads + 2 key_heads, h)``.
        angles: See `rotate`.
        heads: Of the queries, the first ones.
        key_heads: Of the keys, and of the values that come last.
    """
    if projected.device.type == "cpu" and not looked_into(projected):
        cosine, sine = (part.to(projected.dtype) for part in angles)
        return _RotatedHeads.apply(projected, cosine, sine, heads, key_heads)  # type: ignore[no-any-return, no-untyped-call]
    return _plain(projected, angles, heads, key_heads)


def _plain(
    projected: Tensor, angles: tuple[Tensor, Tensor], heads: int, key_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    turned, value = torch.split(projected.transpose(1, 2), [heads + key_heads, key_heads], 1)
    query, key = torch.split(rotate(turned, angles), [heads, key_heads], 1)
    return query, key, value


class _RotatedHeads(torch.autograd.Function):
    """`rotated_heads` on a CPU: what lies between stays in the cache, and the gradient is written in one piece."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, cosine: Tensor, sine: Tensor, heads: int, key_heads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        ctx.save_for_backward(cosine, sine, projected)
        ctx.sizes = [heads, key_heads, key_heads]
        parts = torch.split(projected.transpose(1, 2), ctx.sizes, 1)
        query, key = (part.new_empty(part.shape) for part in parts[:2])
        _turn(parts[0], cosine, sine, query)
        _turn(parts[1], cosine, sine, key)
        return query, key, parts[2]

    @staticmethod
    def backward(ctx: Any, by_query: Tensor, by_key: Tensor, by_value: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for what was projected: turned back."""
        cosine, sine, projected = ctx.saved_tensors
        slopes = by_query, by_key, by_value
        if of_plain(*slopes):
            angles, (heads, key_heads, _) = (cosine, sine), ctx.sizes
            gradient = plain_gradient(lambda x: _plain(x, angles, heads, key_heads), (projected,), (True,), *slopes)
            return (*gradient, None, None, None, None)
        batch, _, count, width = by_query.shape
        found = by_query.new_empty(batch, count, sum(ctx.sizes), width)
        into_query, into_key, into_value = torch.split(found.transpose(1, 2), ctx.sizes, 1)
        _turn(by_query, cosine, -sine, into_query)
        _turn(by_key, cosine, -sine, into_key)
        into_value.copy_(by_value)
        return found, None, None, None, None


def _turn(x: Tensor, cosine: Tensor, sine: Tensor, into: Tensor) -> None:
    """Write heads ``(B, H, T, h)``, turned, into others of that shape, some sequences at a time."""
    count = max(1, _NUMBERS // max(1, x.shape[1:].numel()))
    for source, target in zip(torch.split(x, count), torch.split(into, count), strict=True):
        (first, second), (into_first, into_second) = source.chunk(2, -1), target.chunk(2, -1)
        torch.mul(first, cosine, out=into_first).addcmul_(second, sine, value=-1)
        torch.mul(first, sine, out=into_second).addcmul_(second, cosine)
