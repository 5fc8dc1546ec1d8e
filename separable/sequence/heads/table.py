"""A row of weights for every token: logits ``h W^T`` and their log-sum-exp, V times width numbers and operations."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from separable.layers.derivatives import of_plain, plain_gradient, transformed
from separable.sequence.embeddings import TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig, at_least_float32

_ROWS_IN_HALF = 4  # times as many hidden vectors at a time in half precision, where products are quicker if large


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
        if not torch.is_grad_enabled() or transformed(hidden, self.weight):
            return super().weighted_loss(hidden, targets, weights, chunk)
        if chunk is None:
            chunk = self.chunk_size(hidden) * (_ROWS_IN_HALF if products_in(hidden).itemsize < 4 else 1)
        return WeightedCrossEntropy.apply(hidden, self.weight, targets, weights, chunk)  # type: ignore[no-any-return, no-untyped-call]

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        return at_least_float32(self.logits(hidden)).log_softmax(-1)


class LossOfLogits(torch.autograd.Function):
    """What losses of logits ``hidden weight^T`` share that find their gradient with their value, chunk by chunk.

    The first two arguments are hidden ``(N, width)`` and weight ``(V, width)``; `forward` keeps the gradient for both
    with them, and as ``ctx.plain`` the formula that is differentiated where the gradient is.
    """

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for hidden and weight."""
        by_hidden, by_weight, hidden, weight = ctx.saved_tensors
        if of_plain(slope):
            return (*plain_gradient(ctx.plain, (hidden, weight), ctx.needs_input_grad[:2], slope), None, None, None)
        return by_hidden * slope, by_weight * slope, None, None, None  # those past the arguments are not looked at


class WeightedCrossEntropy(LossOfLogits):
    """``sum_n w_n (logsumexp(W h_n) - (W h_n)[t_n])``, whose gradient needs the probabilities of one chunk at a time.

    Its gradient for ``W h_n`` is ``w_n (p_n - e_n)`` with probabilities p and one at the target: weights and targets
    join behind the products with p, which passes through memory as seldom as can be.

    Arguments: hidden, weight, targets ``(N,)``, their weights ``(N,)`` and the rows of a chunk.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, chunk: int) -> Tensor:
        """The weighted sum."""
        dtype, wide = products_in(hidden), torch.promote_types(hidden.dtype, torch.float32)
        by_hidden, by_weight = torch.empty_like(hidden), sum_for(weight)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        narrow, shares = weight.to(dtype), weights[:, None].to(wide)
        weighted = hidden * shares
        with torch.autocast(hidden.device.type, enabled=False):  # on GPUs it would widen the probabilities again
            for start in range(0, len(hidden), chunk):
                rows = slice(start, start + chunk)
                target = targets[rows]
                logits = linear(hidden[rows].to(dtype), narrow)
                probabilities = logits.softmax(-1)
                wanted = probabilities.gather(-1, target[:, None]).to(wide)
                if bool((wanted > torch.finfo(dtype).tiny).all()):
                    losses = -wanted.log()
                else:  # some probability is too small for its logarithm
                    losses = cross_entropy(at_least_float32(logits), target, reduction="none")[:, None]
                total += (losses * shares[rows]).sum()
                by_hidden[rows] = (probabilities @ narrow).to(wide).sub_(weight[target]).mul_(shares[rows])
                add_product(by_weight, probabilities.T, weighted[rows].to(dtype))
        by_weight.index_add_(0, targets, weighted.to(by_weight.dtype), alpha=-1)
        ctx.save_for_backward(by_hidden, by_weight.to(weight.dtype), hidden, weight)
        ctx.plain = partial(_plain, targets=targets, weights=weights)
        return total


def _plain(hidden: Tensor, weight: Tensor, *, targets: Tensor, weights: Tensor) -> Tensor:
    losses = cross_entropy(at_least_float32(linear(hidden, weight)), targets, reduction="none")
    return (losses * weights).sum()


def products_in(hidden: Tensor) -> torch.dtype:
    """The type in which products with hidden vectors are computed: autocast's where it is on."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def sum_for(weight: Tensor) -> Tensor:
    """Zeros to add a weight's gradient in: float32 at least, as half precision loses what is small beside the sum."""
    return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left right`` to the total in place; products in half precision are added in the total's own."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


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
