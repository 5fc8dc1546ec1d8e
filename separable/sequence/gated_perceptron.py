"""SwiGLU: ``(silu(x Wg) * (x Wu)) Wd``, for positions x (..., width), Wg and Wu (width, hidden), Wd (hidden, width).

Source: Shazeer, GLU Variants Improve Transformer (2020, arXiv:2002.05202), equation 6, without biases.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from separable.layers.derivatives import looked_into, of_plain, plain_gradient

_NUMBERS = 2**17  # gates whose gradient is found at a time, such that what lies between stays in the cache


class GatedPerceptron(nn.Module):
    """The perceptron of the head of this file.

    Args:
        width: Features of a position.
        hidden: Features between.

    Example:
        >>> GatedPerceptron(32, 80)(torch.randn(2, 9, 32)).shape
        torch.Size([2, 9, 32])
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expansion = nn.Linear(width, 2 * hidden, bias=False)  # Wg, Wu
        self.readout = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to the same."""
        expanded = self.expansion(x)
        if expanded.device.type == "cpu" and not looked_into(expanded):
            return self.readout(_Gated.apply(expanded))  # type: ignore[no-any-return, no-untyped-call]
        return self.readout(_plain(expanded))  # type: ignore[no-any-return]


def _plain(expanded: Tensor) -> Tensor:
    gate, value = expanded.chunk(2, -1)
    return silu(gate) * value


class _Gated(torch.autograd.Function):
    """``silu(gate) * value`` on a CPU, which keeps nothing but its input, and writes its gradient in one piece."""

    @staticmethod
    def forward(ctx: Any, expanded: Tensor) -> Tensor:
        """Gates and values ``(..., 2 hidden)`` to ``(..., hidden)``."""
        ctx.save_for_backward(expanded)
        gate, value = expanded.chunk(2, -1)
        gated: Tensor = silu(gate).mul_(value)
        return gated

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor | None:
        """The gradient for gates and values."""
        (expanded,) = ctx.saved_tensors
        if of_plain(slope):
            return plain_gradient(_plain, (expanded,), (True,), slope)[0]
        found: Tensor = expanded.new_empty(expanded.shape)
        rows = max(1, _NUMBERS // slope.shape[-1])
        parts = (part.reshape(-1, part.shape[-1]).split(rows) for part in (expanded, slope, found))
        for source, by_product, target in zip(*parts, strict=True):
            (gate, value), (by_gate, by_value) = source.chunk(2, -1), target.chunk(2, -1)
            torch.ops.aten.silu.out(gate, out=by_value).mul_(by_product)
            torch.mul(by_product, value, out=by_gate)
            torch.ops.aten.silu_backward.grad_input(by_gate, gate, grad_input=by_gate)
        return found
