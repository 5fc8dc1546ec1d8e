"""Two digits for a token, and a mixture of R distributions under which they are independent.

With token (c, j) at place ``c b + j`` of an order in which neighbours are alike, b = ceil(sqrt(V)):

    p(c, j | h) = sum_r pi_r(h)  p_r(c | h) q_r(j | h) / m_r(h)       pi = softmax(P h),  p_r = softmax(A_r h),
                                                                      q_r = softmax(B_r h)
with P (R, width), A (R, V / b, width), B (R, b, width), and m_r the mass that component r gives to cells that hold a
token (one, unless the last row is not full): a canonical polyadic tensor of probabilities, which add to one exactly.
A target costs ``O(R b width)`` where a table costs ``V width``, and no number of the model belongs to one token alone.

R = 1 is the plain product over digits. Related: the mixture of softmaxes of Yang et al. (2018, arXiv:1711.03953).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from separable.sequence.embeddings import TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig, at_least_float32
from separable.sequence.token_order import TokenOrder


class ProductMixtureHead(Head):
    """The head of the top of this file.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a hidden vector.
        rank: Number R of components.
        generator: Source of random numbers.

    Example:
        >>> head = ProductMixtureHead(8192, 128, rank=8)
        >>> head.loss(torch.randn(5, 128), torch.arange(5)).shape, head.n_parameters
        (torch.Size([5]), 187392)
    """

    def __init__(self, vocabulary: int, width: int, rank: int = 8, generator: torch.Generator | None = None) -> None:
        super().__init__(vocabulary, width)
        self.members = math.isqrt(vocabulary - 1) + 1
        self.groups = -(-vocabulary // self.members)
        self.order = TokenOrder(vocabulary)
        self.shares = nn.Parameter(torch.empty(rank, width))
        self.group_weight = nn.Parameter(torch.empty(rank, self.groups, width))
        self.member_weight = nn.Parameter(torch.empty(rank, self.members, width))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values, of deviation 0.02."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=START_DEVIATION, generator=generator)

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """See `Head`: digits are those of places in the order."""
        self.order.assign(order)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `Head`."""
        place = self.order.place[targets]
        shares, groups, members = self._components(hidden)
        group = (place // self.members)[:, None, None].expand(-1, shares.shape[1], 1)
        member = (place % self.members)[:, None, None].expand(-1, shares.shape[1], 1)
        return -(shares + groups.gather(2, group)[..., 0] + members.gather(2, member)[..., 0]).logsumexp(-1)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`; R passes over ``(N, V)`` numbers."""
        total: Tensor | None = None
        for share, group, member in zip(*(part.unbind(1) for part in self._components(hidden)), strict=True):
            component = (share[:, None] + group)[:, :, None] + member[:, None]
            total = component if total is None else torch.logaddexp(total, component)
        assert total is not None  # a rank is at least one
        return total.flatten(1)[:, self.order.place]

    def chunk_size(self, hidden: Tensor) -> int:
        """See `Head`: what is held for a target are 2 R softmaxes over b."""
        return super().chunk_size(hidden) * (self.vocabulary // (2 * self.members * len(self.shares)) + 1)

    def _components(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of pi / m ``(N, R)``, p ``(N, R, V / b)`` and q ``(N, R, b)``."""
        rank = len(self.shares)
        shares = at_least_float32(linear(hidden, self.shares)).log_softmax(-1)
        groups, members = (
            at_least_float32(linear(hidden, weight.flatten(0, 1)))
            .view(hidden.shape[0], rank, weight.shape[1])
            .log_softmax(-1)
            for weight in (self.group_weight, self.member_weight)
        )
        held = self.vocabulary - (self.groups - 1) * self.members  # tokens in the last group
        if held < self.members:
            last = groups[..., -1] + members[..., :held].logsumexp(-1)
            full = groups[..., :-1].logsumexp(-1) if self.groups > 1 else torch.full_like(last, -torch.inf)
            shares = shares - torch.logaddexp(full, last)
        return shares, groups, members


@dataclasses.dataclass(frozen=True)
class ProductMixtureHeadConfig(HeadConfig):
    """A mixture of products of softmaxes over two digits.

    Attributes:
        rank: number of components.
    """

    kind: ClassVar[str] = "product_mixture"
    rank: int = 8

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: expected 1 or more, got {self.rank}")

    def build(
        self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None
    ) -> ProductMixtureHead:
        """See `HeadConfig`."""
        return ProductMixtureHead(embedding.vocabulary, width, self.rank, generator)
