"""The adaptive softmax, as torch has it: frequent tokens in a table, rarer ones in clusters of ever lower rank.

Source: Grave et al., Efficient softmax approximation for GPUs (2017, arXiv:1609.04309). Here for comparison.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from separable.sequence.embeddings import TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig
from separable.sequence.token_order import TokenOrder, frequency_order


class AdaptiveHead(Head):
    """torch.nn.AdaptiveLogSoftmaxWithLoss over tokens in order of frequency.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a hidden vector.
        shares: Where clusters begin, as shares of the vocabulary.
        division: Factor between the ranks of consecutive clusters.
        generator: Source of random numbers.

    Example:
        >>> head = AdaptiveHead(1000, 64)
        >>> head.loss(torch.randn(5, 64), torch.arange(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        shares: tuple[float, ...] = (1 / 16, 1 / 4),
        division: float = 4.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(vocabulary, width)
        cutoffs = [max(1, round(share * vocabulary)) for share in shares]
        if sorted({*cutoffs, vocabulary}) != [*cutoffs, vocabulary]:
            raise ValueError(
                f"AdaptiveHead: a vocabulary of {vocabulary} tokens is too small for clusters that begin at its shares "
                f"{tuple(shares)}, which are at tokens {cutoffs}"
            )
        self.order = TokenOrder(vocabulary)
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(width, vocabulary, cutoffs, division)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values, of deviation 0.02."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=START_DEVIATION, generator=generator)

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """See `Head`: the order is that of the counts."""
        self.order.assign(frequency_order(counts))

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `Head`."""
        return -_widened(self.softmax, hidden, self.order.place[targets]).output  # type: ignore[no-any-return]

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        logarithms: Tensor = _widened(_Logarithms(self.softmax), hidden)
        return logarithms[:, self.order.place]


class _Logarithms(nn.Module):
    """All log probabilities of a softmax, as a module's output."""

    def __init__(self, softmax: nn.AdaptiveLogSoftmaxWithLoss) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, hidden: Tensor) -> Tensor:
        return self.softmax.log_prob(hidden)


def _widened(module: nn.Module, hidden: Tensor, *others: Tensor) -> Any:
    """What a module gives with parameters and vectors in float32 at least; torch's own fails where dtypes are mixed."""
    parameters = dict(module.named_parameters())
    wide = torch.promote_types(next(iter(parameters.values())).dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        widened = {name: parameter.to(wide) for name, parameter in parameters.items()}
        return functional_call(module, widened, (hidden.to(wide), *others))


@dataclasses.dataclass(frozen=True)
class AdaptiveHeadConfig(HeadConfig):
    """An adaptive softmax.

    Attributes:
        shares: where clusters begin, as increasing shares of the vocabulary.
        division: factor between the ranks of consecutive clusters.
    """

    kind: ClassVar[str] = "adaptive"
    shares: tuple[float, ...] = (1 / 16, 1 / 4)
    division: float = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(self.shares))  # a list in JSON
        if not self.shares or list(self.shares) != sorted(set(self.shares)) or not 0 < min(self.shares) < 1:
            raise ValueError(f"shares: expected increasing numbers between 0 and 1, got {self.shares}")
        if not max(self.shares) < 1:
            raise ValueError(f"shares: expected increasing numbers between 0 and 1, got {self.shares}")
        if not self.division >= 1:
            raise ValueError(f"division: expected 1 or more, got {self.division}")

    def build(self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None) -> AdaptiveHead:
        """See `HeadConfig`."""
        return AdaptiveHead(embedding.vocabulary, width, self.shares, self.division, generator)
