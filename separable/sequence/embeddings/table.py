"""A vector of its own for every token: V times width numbers."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding


class TableEmbedding(TokenEmbedding):
    """A lookup table, as torch.nn.Embedding.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
        deviation: Standard deviation of the start values.
        generator: Source of random numbers.

    Example:
        >>> embedding = TableEmbedding(1000, 32)
        >>> embedding(torch.tensor([[1, 999]])).shape, embedding.n_parameters
        (torch.Size([1, 2, 32]), 32000)
    """

    def __init__(
        self, vocabulary: int, width: int, deviation: float = 0.02, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(vocabulary, width)
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        nn.init.normal_(self.weight, std=deviation, generator=generator)

    def table(self) -> Tensor:
        """The table itself."""
        return self.weight

    def _keeps(self) -> bool:
        return False

    def _vectors(self, tokens: Tensor) -> Tensor:
        return nn.functional.embedding(tokens, self.weight)


@dataclasses.dataclass(frozen=True)
class TableEmbeddingConfig(EmbeddingConfig):
    """A table.

    Attributes:
        deviation: standard deviation of the start values.
    """

    kind: ClassVar[str] = "table"
    deviation: float = 0.02

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ValueError(f"deviation: expected a number above 0, got {self.deviation}")

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> TableEmbedding:
        """See `EmbeddingConfig`."""
        return TableEmbedding(vocabulary, width, self.deviation, generator)
