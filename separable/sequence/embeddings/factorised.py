"""A table held in factors: of low rank, ``W = U P`` (V, rank) (rank, width), or a tensor train over digits.

Sources: the low rank is ALBERT's (Lan et al. 2019, arXiv:1909.11942, section 3.1); the tensor train that of Hrinchuk et
al., Tensorized Embedding Layers (2019, arXiv:1901.10787), here over two digits of the token and two of the feature.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from separable.layers import SeparableEmbedding
from separable.layers.factorised import Factorisation
from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding


class FactorisedEmbedding(TokenEmbedding):
    """A `SeparableEmbedding` of tokens.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
        factorisation: ``canonical_polyadic`` for low rank, or ``tensor_train``.
        rank: Of the factors.
        deviation: Standard deviation of the vectors' entries at the start.
        generator: Source of random numbers.

    Example:
        >>> embedding = FactorisedEmbedding(1000, 64, "canonical_polyadic", rank=16)
        >>> embedding(torch.tensor([1, 999])).shape, embedding.n_parameters
        (torch.Size([2, 64]), 17024)
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        factorisation: Factorisation,
        rank: int,
        deviation: float = 0.02,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(vocabulary, width)
        self.factors = SeparableEmbedding(vocabulary, width, rank=rank, factorisation=factorisation)
        self.factors.matrix.reset_parameters(deviation, generator)

    def _vectors(self, tokens: Tensor) -> Tensor:
        return self.factors(tokens)  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class LowRankEmbeddingConfig(EmbeddingConfig):
    """A table of low rank.

    Attributes:
        rank: of the table.
        deviation: standard deviation of the vectors' entries at the start.
    """

    kind: ClassVar[str] = "low_rank"
    rank: int = 32
    deviation: float = 0.02

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> FactorisedEmbedding:
        """See `EmbeddingConfig`."""
        return FactorisedEmbedding(vocabulary, width, "canonical_polyadic", self.rank, self.deviation, generator)


@dataclasses.dataclass(frozen=True)
class TensorTrainEmbeddingConfig(EmbeddingConfig):
    """A table as a tensor train.

    Attributes:
        rank: of the train.
        deviation: standard deviation of the vectors' entries at the start.
    """

    kind: ClassVar[str] = "tensor_train"
    rank: int = 16
    deviation: float = 0.02

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> FactorisedEmbedding:
        """See `EmbeddingConfig`."""
        return FactorisedEmbedding(vocabulary, width, "tensor_train", self.rank, self.deviation, generator)
