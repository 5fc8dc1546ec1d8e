"""A table of low rank: logits ``U (P h)`` with U (V, rank) and P (rank, width), V times rank numbers.

With a low-rank embedding the factors may be the same, which is ALBERT's output (Lan et al. 2019, arXiv:1909.11942).
The cost is that of a table of the rank's width.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from separable.layers.derivatives import transformed
from separable.layers.factorised import CanonicalPolyadicMatrix
from separable.sequence.embeddings import FactorisedEmbedding, TokenEmbedding
from separable.sequence.heads.head import START_DEVIATION, Head, HeadConfig, at_least_float32
from separable.sequence.heads.table import WeightedCrossEntropy


class LowRankHead(Head):
    """The head of the top of this file.

    Args:
        embedding: Of the model's tokens; of low rank if the factors are shared.
        rank: Of a table of its own; None: the embedding's factors are shared.
        generator: Source of random numbers.

    Raises:
        ValueError: If factors are to be shared and the embedding is not of low rank.

    Example:
        >>> from separable.sequence.embeddings import LowRankEmbeddingConfig
        >>> embedding = LowRankEmbeddingConfig(rank=16).build(1000, 64)
        >>> LowRankHead(embedding, rank=16).n_parameters, LowRankHead(embedding, rank=None).n_parameters
        (17024, 0)
    """

    def __init__(
        self, embedding: TokenEmbedding, rank: int | None = 32, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(embedding.vocabulary, embedding.width)
        # In a tuple, so that the embedding's parameters are not registered twice (nor saved twice).
        self._shared: tuple[CanonicalPolyadicMatrix, ...] = ()
        if rank is None:
            matrix = embedding.factors.matrix if isinstance(embedding, FactorisedEmbedding) else None
            if not isinstance(matrix, CanonicalPolyadicMatrix):
                raise ValueError("LowRankHead: expected a rank, or a low-rank embedding whose factors to share")
            self._shared = (matrix,)
        else:
            self.rows = nn.Parameter(torch.empty(embedding.vocabulary, rank))
            self.columns = nn.Parameter(torch.empty(embedding.width, rank))
            self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values of its own factors: projections of unit variance, rows of deviation 0.02."""
        if not self._shared:
            nn.init.normal_(self.columns, std=self.width**-0.5, generator=generator)
            nn.init.normal_(self.rows, std=START_DEVIATION, generator=generator)

    def _factors(self) -> tuple[Tensor, Tensor]:
        if self._shared:
            return self._shared[0].row_factors[0], self._shared[0].column_factors[0]
        return self.rows, self.columns

    def logits(self, hidden: Tensor) -> Tensor:
        """``U (P h)``, ``(..., V)``."""
        rows, columns = self._factors()
        return linear(hidden @ columns, rows)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `Head`."""
        return cross_entropy(at_least_float32(self.logits(hidden)), targets, reduction="none")

    def weighted_loss(self, hidden: Tensor, targets: Tensor, weights: Tensor, chunk: int | None = None) -> Tensor:
        """See `Head` and `TableHead`."""
        rows, columns = self._factors()
        if not torch.is_grad_enabled() or transformed(hidden, rows, columns):
            return super().weighted_loss(hidden, targets, weights, chunk)
        size = chunk or self.chunk_size(hidden)
        return WeightedCrossEntropy.apply(hidden @ columns, rows, targets, weights, size)  # type: ignore[no-any-return, no-untyped-call]

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        return at_least_float32(self.logits(hidden)).log_softmax(-1)


@dataclasses.dataclass(frozen=True)
class LowRankHeadConfig(HeadConfig):
    """A table of low rank.

    Attributes:
        rank: of a table of its own; by default the factors of a low-rank embedding are shared.
    """

    kind: ClassVar[str] = "low_rank"
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank: expected 1 or more, got {self.rank}")

    def build(self, width: int, embedding: TokenEmbedding, generator: torch.Generator | None = None) -> LowRankHead:
        """See `HeadConfig`."""
        return LowRankHead(embedding, self.rank, generator)
