"""An order of the vocabulary in which neighbours are alike, so that the digits of a token's place mean something.

Separable embeddings and heads know a token by the digits of its place, so what neighbours share is learned once.
The ids of a tokeniser come in no order that would help; two that do:

    by frequency    the most frequent token first
    by context      tokens are cut in halves along the principal direction of their contexts, and halves again, down to
                    groups of the size of a digit. A token's context is the square root (Hellinger) of the shares of
                    the most frequent tokens right before and right after it.
"""

import math

import torch
from torch import Tensor, nn


class TokenOrder(nn.Module):
    """A permutation of V tokens that is saved with a model; the identity until `assign` is called.

    Args:
        vocabulary: Number V of tokens.

    Example:
        >>> order = TokenOrder(3)
        >>> order.assign(torch.tensor([2, 0, 1]))
        >>> order.place[torch.tensor([2, 0, 1])]
        tensor([0, 1, 2])
    """

    place: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("place", torch.arange(vocabulary))

    def assign(self, order: Tensor) -> None:
        """Set the order: token ids ``(V,)`` from the first place to the last.

        Raises:
            ValueError: If it is not a permutation of the V ids.
        """
        count = len(self.place)
        if order.shape != (count,) or not torch.equal(order.sort().values.cpu(), torch.arange(count)):
            raise ValueError(f"order: expected a permutation of 0 .. {count - 1}, got {tuple(order.shape)}")
        place = torch.empty_like(self.place)
        place[order.to(place.device)] = torch.arange(count, device=place.device)
        self.place.copy_(place)


def frequency_order(counts: Tensor) -> Tensor:
    """Token ids ``(V,)``, the most frequent first, from their counts ``(V,)``; equals keep the order of ids.

    Example:
        >>> frequency_order(torch.tensor([1, 5, 3]))
        tensor([1, 2, 0])
    """
    return counts.argsort(descending=True, stable=True)


def context_order(tokens: Tensor, vocabulary: int, group: int | None = None, contexts: int = 128) -> Tensor:
    """Token ids ``(V,)`` in groups of tokens that stand in like contexts; a few seconds for a million tokens.

    Args:
        tokens: Training data ``(n,)``; a few million are enough.
        vocabulary: Number V of tokens.
        group: Size of the groups; by default ``ceil(sqrt(V))``, which suits two digits.
        contexts: Frequent tokens that are told apart before and after a token.

    Raises:
        ValueError: If there are not at least two tokens, or one lies outside the vocabulary.

    Example:
        >>> text = torch.tensor([0, 2, 1, 2, 0, 3, 1, 3] * 9)  # 0 and 1 stand before 2 or 3
        >>> sorted(context_order(text, vocabulary=4)[:2].tolist()) in ([0, 1], [2, 3])
        True
    """
    tokens = tokens.long()
    if tokens.ndim != 1 or len(tokens) < 2:
        raise ValueError(f"context_order: expected tokens (n,), n at least 2, got {tuple(tokens.shape)}")
    lowest, highest = (int(end) for end in tokens.aminmax())
    if lowest < 0 or highest >= vocabulary:
        raise ValueError(f"context_order: expected tokens 0 .. {vocabulary - 1}, got {lowest} .. {highest}")
    group = group or math.isqrt(vocabulary - 1) + 1
    return _bisected(torch.arange(vocabulary), _contexts(tokens, vocabulary, contexts), group)


def _contexts(tokens: Tensor, vocabulary: int, contexts: int) -> Tensor:
    counts = tokens.bincount(minlength=vocabulary)
    frequent = frequency_order(counts)[:contexts]
    column = torch.full((vocabulary,), -1)
    column[frequent] = torch.arange(len(frequent))
    sides = []
    for token, neighbour in ((tokens[1:], tokens[:-1]), (tokens[:-1], tokens[1:])):
        known = column[neighbour] >= 0
        cell = token[known] * len(frequent) + column[neighbour[known]]
        sides.append(cell.bincount(minlength=vocabulary * len(frequent)).view(vocabulary, -1))
    # Two more than the count: a token seen once says little about its contexts.
    return (torch.cat(sides, 1) / (counts[:, None] + 2.0)).sqrt()


def _bisected(tokens: Tensor, features: Tensor, group: int) -> Tensor:
    groups = -(-len(tokens) // group)
    if groups < 2:
        return tokens
    centred = features[tokens] - features[tokens].mean(0)
    direction = centred[centred.square().sum(1).argmax()]
    for _ in range(16):  # power iteration; the cut need not be along the principal direction to the last digit
        direction = centred.T @ (centred @ direction)
        direction = direction / direction.norm().clamp(min=1e-30)
    ordered = tokens[(centred @ direction).argsort(stable=True)]
    first = groups // 2 * group
    return torch.cat([_bisected(half, features, group) for half in (ordered[:first], ordered[first:])])
