"""Drawing the next token: a distribution sharpened by temperature and cut to its most probable tokens."""

import torch
from torch import Tensor


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Token ids ``(B,)`` drawn from logits ``(B, V)``.

    Args:
        logits: Unnormalised or normalised logarithms of probabilities.
        temperature: Logits are divided by it; 0 takes the most probable token.
        top_k: Draw from the k most probable tokens only; 0 for all.
        top_p: Draw from the fewest most probable tokens whose probabilities add to at least p (nucleus sampling,
            Holtzman et al. 2019, arXiv:1904.09751), after temperature and top-k.
        generator: Source of random numbers.

    Raises:
        ValueError: On settings outside their range.

    Example:
        >>> logits = torch.tensor([[0.1, 3.0, 0.2], [2.0, 0.0, 1.9]])
        >>> sample(logits, temperature=0.0), sample(logits, top_k=1)
        (tensor([1, 0]), tensor([1, 0]))
    """
    check_sampling(temperature, top_k, top_p)
    if temperature < torch.finfo(torch.float32).tiny:
        return logits.argmax(-1)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = wide.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).min)  # what is divided stays finite
    probabilities = cut((wide - largest) / temperature, top_k, top_p).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def cut(logits: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits ``(B, V)`` with minus infinity in place of those that top-k and top-p leave out.

    Example:
        >>> cut(torch.tensor([[0.5, 0.3, 0.2]]).log(), top_p=0.6).exp()
        tensor([[0.5000, 0.3000, 0.0000]])
    """
    if not top_k and top_p >= 1:
        return logits
    count = min(top_k or logits.shape[-1], logits.shape[-1])
    ordered, order = logits.topk(count)
    if top_p < 1:
        probabilities = ordered.softmax(-1)
        # A token stays if those before it do not yet add to p; the first one always does.
        before = probabilities.cumsum(-1) - probabilities
        ordered = ordered.masked_fill((before >= top_p) & (before > 0), -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, order, ordered)


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """Refuse settings of `sample` outside their range.

    Raises:
        ValueError: On such settings.
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature: expected 0 or more, got {temperature}")
    if top_k < 0:
        raise ValueError(f"top_k: expected 0 (all) or more, got {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a number above 0 and at most 1, got {top_p}")
