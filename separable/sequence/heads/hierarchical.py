"""Two digits for a token, and a softmax for each: first its group, then which of the group, from separable logits.

With V tokens in an order in which neighbours are alike (`separable.sequence.token_order`), groups of b = ceil(sqrt(V))
and token (c, j) at place ``c b + j``:

    p(c, j | h) = softmax_c(K h)  softmax_j(logit_(c,j)(h))                             K (V / b, width)
    logit_(c,j)(h) = sum_r (A h)_r G_(c,r) D_(j,r) + s_(c,j)              A (R, width)  G (V / b, R)  D (b, R)

The logits of a group are a canonical polyadic tensor of rank R over hidden feature, group and member, so the weight of
every token follows from two codebooks and is never formed; s holds one number a token. The probabilities add to one
exactly. A target costs ``O((b + R) width + b R)`` where a table costs ``V width``; all tokens together, for sampling,
cost ``V R``.

The split into groups is Goodman's (2001, arXiv:cs/0108006) class-based softmax; separable logits inside it are ours.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear, pad

from separable.sequence.embeddings import TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig, at_least_float32
from separable.sequence.token_order import TokenOrder


class HierarchicalHead(Head):
    """The head of the top of this file.

    Time of the loss forwards and backwards over that of a table, one core: see ``benchmarks/language_heads.py``.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a hidden vector.
        rank: R.
        generator: Source of random numbers.

    Example:
        >>> head = HierarchicalHead(8192, 128, rank=256)
        >>> head.loss(torch.randn(5, 128), torch.arange(5)).shape, head.n_parameters
        (torch.Size([5]), 99200)
    """

    def __init__(self, vocabulary: int, width: int, rank: int = 256, generator: torch.Generator | None = None) -> None:
        super().__init__(vocabulary, width)
        self.members = math.isqrt(vocabulary - 1) + 1
        self.groups = -(-vocabulary // self.members)
        self.order = TokenOrder(vocabulary)
        self.group_weight = nn.Parameter(torch.empty(self.groups, width))
        self.projection = nn.Parameter(torch.empty(rank, width))
        self.group_codes = nn.Parameter(torch.empty(self.groups, rank))
        self.member_codes = nn.Parameter(torch.empty(self.members, rank))
        self.bias = nn.Parameter(torch.empty(vocabulary))  # by place
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values: projections and group codes of unit variance, weights of deviation 0.02, no bias."""
        nn.init.normal_(self.group_weight, std=START_DEVIATION, generator=generator)
        nn.init.normal_(self.projection, std=self.width**-0.5, generator=generator)
        nn.init.normal_(self.group_codes, generator=generator)
        nn.init.normal_(self.member_codes, std=START_DEVIATION, generator=generator)
        nn.init.zeros_(self.bias)

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """See `Head`: groups are neighbours in the order."""
        self.order.assign(order)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `Head`."""
        place = self.order.place[targets]
        group, member = place // self.members, place % self.members
        coded = linear(hidden, self.projection) * _rows(self.group_codes, group)
        within = linear(coded, self.member_codes) + _rows(self._biases(), group)
        by_group = cross_entropy(at_least_float32(linear(hidden, self.group_weight)), group, reduction="none")
        return by_group + cross_entropy(at_least_float32(within), member, reduction="none")

    def chunk_size(self, hidden: Tensor) -> int:
        """See `Head`: what is held for a target are its group's logits and codes."""
        return super().chunk_size(hidden) * (self.vocabulary // (self.members + self.group_codes.shape[1]) + 1)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`; takes ``(N, V)`` and ``(N, V / b, R)`` numbers."""
        coded = linear(hidden, self.projection)[:, None] * self.group_codes  # (N, V / b, R)
        within = at_least_float32(linear(coded, self.member_codes) + self._biases()).log_softmax(-1)
        by_group = at_least_float32(linear(hidden, self.group_weight)).log_softmax(-1)
        return (by_group[..., None] + within).flatten(1)[:, self.order.place]

    def _biases(self) -> Tensor:
        """``(V / b, b)``, minus infinity where the last group has no token."""
        missing = self.groups * self.members - self.vocabulary
        return pad(self.bias, (0, missing), value=-torch.inf).view(self.groups, self.members)


def _rows(table: Tensor, places: Tensor) -> Tensor:
    """Rows of a table; the gradients of a row are added in float32 at least, as many targets share a group."""
    return embedding(places, at_least_float32(table)).to(table.dtype)


@dataclasses.dataclass(frozen=True)
class HierarchicalHeadConfig(HeadConfig):
    """A softmax over groups and one over the members of a group, from codebooks.

    Attributes:
        rank: R of the logits within a group.
    """

    kind: ClassVar[str] = "hierarchical"
    rank: int = 256

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: expected 1 or more, got {self.rank}")

    def build(
        self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None
    ) -> HierarchicalHead:
        """See `HeadConfig`."""
        return HierarchicalHead(embedding.vocabulary, width, self.rank, generator)
