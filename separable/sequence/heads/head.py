"""What every output head has: the probability of each token after a hidden vector, exactly normalised."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from separable.layers.derivatives import transformed
from separable.sequence.embeddings import TokenEmbedding

START_DEVIATION = 0.02
_NUMBERS = 2**20  # logits of a chunk on a CPU


class Head(nn.Module, abc.ABC):
    """A distribution over V tokens given a hidden vector.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a hidden vector.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        if vocabulary < 1 or width < 1:
            raise ValueError(f"{type(self).__name__}: sizes are positive, got {vocabulary} x {width}")
        self.vocabulary, self.width = vocabulary, width

    @abc.abstractmethod
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative logarithm ``(N,)`` of the targets' probabilities, in nats, in float32 at least.

        Args:
            hidden: ``(N, width)``.
            targets: Token ids ``(N,)``.
        """

    @abc.abstractmethod
    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Logarithms ``(N, V)`` of all tokens' probabilities given hidden vectors ``(N, width)``."""

    @abc.abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""

    def logits(self, hidden: Tensor) -> Tensor:
        """The same up to a number for each hidden vector, where that costs less."""
        return self.log_probabilities(hidden)

    def weighted_loss(self, hidden: Tensor, targets: Tensor, weights: Tensor, chunk: int | None = None) -> Tensor:
        """The sum of `loss` with weights ``(N,)``, in chunks of hidden vectors that the backward pass recomputes.

        Args:
            hidden: ``(N, width)``.
            targets: Token ids ``(N,)``.
            weights: Of the N losses; no gradient goes to them.
            chunk: Hidden vectors at a time; by default as many as suit the device.
        """
        size = chunk or self.chunk_size(hidden)
        parts = (torch.split(part, size) for part in (hidden, targets, weights))
        pieces = list(zip(*parts, strict=True))

        def weighted(h: Tensor, t: Tensor, w: Tensor) -> Tensor:
            return (self.loss(h, t) * w).sum()

        if len(pieces) < 2 or not torch.is_grad_enabled() or transformed(hidden):
            return sum((weighted(*piece) for piece in pieces), hidden.new_zeros(()))
        recomputed = (checkpoint(weighted, *piece, use_reentrant=False) for piece in pieces)
        return sum(recomputed, hidden.new_zeros(()))

    def chunk_size(self, hidden: Tensor) -> int:
        """Hidden vectors at a time in `weighted_loss`: logits that stay in a CPU's cache, or fill a GPU."""
        return max(16, (_NUMBERS if hidden.device.type == "cpu" else 64 * _NUMBERS) // self.vocabulary)

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """Tell the head how often tokens occur and which are alike, before training; see `TokenEmbedding.assign`."""

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers of the head's own."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.width}, {self.vocabulary}, {self.n_parameters} parameters"


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in the precision that their log-sum-exp needs."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@dataclasses.dataclass(frozen=True)
class HeadConfig(abc.ABC):
    """Settings of one kind of head; `kind` is its name in files and on the command line."""

    kind: ClassVar[str]

    @abc.abstractmethod
    def build(self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None) -> Head:
        """The head of a model whose tokens are those of an embedding, which it may share."""

    def settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"kind": self.kind, **dataclasses.asdict(self)}
