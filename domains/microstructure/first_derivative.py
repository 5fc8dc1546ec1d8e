"""A guard for what has a first derivative only: a second one is an error instead of a wrong number.

`torch.autograd.function.once_differentiable` is not enough.  It objects only where the incoming gradient depends on the
inputs; for ``g(f(x))`` with a linear g and a nonlinear step before f it lets a part of the second derivative through.
"""

from typing import Any

import torch
from torch import Tensor


class _Guard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, anchor: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("the solvers of cells have first derivatives only, and were asked for a second one")


def guarded(gradient: Tensor, anchor: Tensor) -> Tensor:
    """The gradient that a backward pass returns; differentiating it again is an error.

    Args:
        gradient: what the backward pass found, computed without a graph.
        anchor: the input that it belongs to.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.enable_grad():
        ...     slope = guarded(torch.ones(2), x)
        >>> slope.sum().backward()
        Traceback (most recent call last):
        RuntimeError: the solvers of cells have first derivatives only, and were asked for a second one
    """
    if not torch.is_grad_enabled():
        return gradient
    found: Tensor = _Guard.apply(gradient, anchor)
    return found
