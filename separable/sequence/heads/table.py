"""A row of weights for every token: logits ``h W^T`` and their log-sum-exp, V times width numbers and operations."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, linear

from separable.sequence.embeddings import TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig, at_least_float32


class TableHead(Head):
    """A linear map to logits, its weight its own or the embedding's.

    Args:
        embedding: Of the model's tokens.
        tied: Whether the weight is the embedding's table, whatever kind of embedding that is; the head then has no
            parameters. (Press and Wolf 2017, arXiv:1608.05859)
        deviation: Standard deviation of the start values of a weight of its own.
        generator: Source of random numbers.

    Example:
        >>> from separable.sequence.embeddings import TableEmbedding
        >>> embedding = TableEmbedding(1000, 32)
        >>> head = TableHead(embedding, tied=True)
        >>> head.loss(torch.randn(5, 32), torch.arange(5)).shape, head.n_parameters
        (torch.Size([5]), 0)
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        tied: bool = False,
        deviation: float = START_DEVIATION,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(embedding.vocabulary, embedding.width)
        self.tied, self.deviation = tied, deviation
        # In a tuple, so that the embedding's parameters are not registered twice (nor saved twice).
        self._embedding = (embedding,) if tied else ()
        if not tied:
            self.own_weight = nn.Parameter(torch.empty(embedding.vocabulary, embedding.width))
            self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values of a weight of its own."""
        if not self.tied:
            nn.init.normal_(self.own_weight, std=self.deviation, generator=generator)

    @property
    def weight(self) -> Tensor:
        """``(V, width)``."""
        return self._embedding[0].table() if self._embedding else self.own_weight

    def logits(self, hidden: Tensor) -> Tensor:
        """``h W^T``, ``(..., V)``."""
        return linear(hidden, self.weight)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `Head`."""
        return cross_entropy(at_least_float32(self.logits(hidden)), targets, reduction="none")

    def weighted_loss(self, hidden: Tensor, targets: Tensor, weights: Tensor, chunk: int | None = None) -> Tensor:
        """See `Head`; the gradient is found in the forward pass, chunk by chunk, and nothing is computed twice."""
        if not torch.is_grad_enabled():
            return super().weighted_loss(hidden, targets, weights, chunk)
        return WeightedCrossEntropy.apply(hidden, self.weight, targets, weights, chunk or self.chunk_size(hidden))  # type: ignore[no-any-return, no-untyped-call]

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        return at_least_float32(self.logits(hidden)).log_softmax(-1)


class LossOfLogits(torch.autograd.Function):
    """What losses of logits ``hidden weight^T`` share that find their gradient with their value, chunk by chunk.

    The first two arguments are hidden ``(N, width)`` and weight ``(V, width)``; `forward` saves the gradient for both,
    which cannot be differentiated again.
    """

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for hidden and weight."""
        by_hidden, by_weight = ctx.saved_tensors
        return by_hidden * slope, by_weight * slope, None, None, None  # those past the arguments are not looked at


class WeightedCrossEntropy(LossOfLogits):
    """``sum_n w_n (logsumexp(W h_n) - (W h_n)[t_n])``, whose gradient needs the logits of one chunk at a time.

    Arguments: hidden, weight, targets ``(N,)``, their weights ``(N,)`` and the rows of a chunk.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, chunk: int) -> Tensor:
        """The weighted sum."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        by_hidden, by_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            target, share = targets[rows, None], weights[rows, None].to(wide)
            logits = linear(hidden[rows], weight).to(wide)
            wanted, largest = logits.gather(-1, target), logits.amax(-1, keepdim=True)
            unnormalised = logits.sub_(largest).exp_()  # in place, and once: it is both sum and gradient
            normaliser = unnormalised.sum(-1, keepdim=True)
            total += ((normaliser.log() + largest - wanted) * share).sum()
            slope = unnormalised.mul_(share / normaliser).scatter_add_(-1, target, -share)
            add_gradients(slope, hidden, weight, rows, by_hidden, by_weight)
        ctx.save_for_backward(by_hidden, by_weight)
        return total


def add_gradients(
    slope: Tensor, hidden: Tensor, weight: Tensor, rows: slice, by_hidden: Tensor, by_weight: Tensor
) -> None:
    """Carry the gradient ``(n, V)`` of some rows' logits on to hidden vectors ``(N, width)`` and weight ``(V, width)``.

    Args:
        slope: Of the logits ``hidden[rows] W^T``.
        hidden: All hidden vectors.
        weight: W.
        rows: Which of them.
        by_hidden: Gets the rows' gradient.
        by_weight: Has theirs added.
    """
    slope = slope.to(hidden.dtype)
    by_hidden[rows] = slope @ weight
    if by_weight.dtype == hidden.dtype:
        by_weight.addmm_(slope.T, hidden[rows])
    else:  # under autocast: products in half precision, their sum in that of the weight
        by_weight += slope.T @ hidden[rows]


@dataclasses.dataclass(frozen=True)
class TableHeadConfig(HeadConfig):
    """A table of its own, or the embedding's.

    Attributes:
        tied: whether the weight is the embedding's table.
        deviation: standard deviation of the start values of a weight of its own.
    """

    kind: ClassVar[str] = "table"
    tied: bool = True
    deviation: float = START_DEVIATION

    def build(self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None) -> TableHead:
        """See `HeadConfig`."""
        if width != embedding.width:
            raise ValueError(f"TableHead: expected an embedding of width {width}, got {embedding.width}")
        return TableHead(embedding, self.tied, self.deviation, generator)
