"""What a gradient written by hand leaves to the plain formula: second derivatives, and whoever looks into it.

`torch.autograd.function.once_differentiable` is not enough: it objects only where the incoming gradient depends on the
inputs, and the gradient of a sum does not. Its derivative would be zero without a word.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def transformed(*tensors: Tensor) -> bool:
    """Whether a torch.func transform, batched gradients or forward-mode derivatives are under way."""
    batched = torch._C._functorch
    return (
        torch._C._are_functorch_transforms_active()
        or any(batched.is_batchedtensor(t) or batched.is_legacy_batchedtensor(t) for t in tensors)
        or torch.autograd.forward_ad._current_level >= 0
    )


def looked_into(*tensors: Tensor) -> bool:
    """Whether the operations on tensors are compiled, exported, traced or transformed, and have to be torch's own."""
    tracing: bool = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or transformed(*tensors)


def of_plain(*slopes: Tensor) -> bool:
    """Whether a backward pass with these slopes is the plain formula's: it is differentiated again, or transformed.

    Compiled code is not differentiated again, but traced with gradients enabled.
    """
    return not torch.compiler.is_compiling() and (torch.is_grad_enabled() or transformed(*slopes))


def plain_gradient(
    formula: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    *slopes: Tensor,
) -> tuple[Tensor | None, ...]:
    """The gradient of a formula, to be differentiated again where gradients are recorded.

    Args:
        formula: of the inputs.
        inputs: where.
        needed: which of them have a gradient; the others get None.
        slopes: of its outputs.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> (slope,) = plain_gradient(lambda x: x**3, [x], [True], torch.ones(1))
        >>> torch.autograd.grad(slope, x)
        (tensor([12.]),)
    """
    again = torch.is_grad_enabled()
    wanted = [one for one, need in zip(inputs, needed, strict=True) if need]
    with torch.enable_grad():
        outputs: Any = formula(*inputs)
        found = iter(torch.autograd.grad(outputs, wanted, slopes if len(slopes) > 1 else slopes[0], create_graph=again))
    return tuple(next(found) if need else None for need in needed)
