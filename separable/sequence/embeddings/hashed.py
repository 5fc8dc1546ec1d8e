"""Vectors from a few shared buckets, chosen by hash functions and weighted by numbers of the token's own.

For k hash functions h_q into B buckets E (B, width) and importances p (V, k):

    embedding_i = sum_q p_(i,q) E[h_q(i)],        h_q(i) = ((a_q i + c_q) mod 2147483647) mod B

B width + V k numbers. Two tokens share a vector's direction only if all their buckets agree, and tell each other apart
by their importances otherwise.

Source: Svenstrup, Hansen and Winther, Hash Embeddings (2017, arXiv:1709.03933), section 2; hash functions after Carter
and Wegman. Deviation: importances start normal with variance 1 / k, so that vectors start with the stated deviation.
"""

from __future__ import annotations

import dataclasses
import random
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding

_PRIME = 2**31 - 1


class HashedEmbedding(TokenEmbedding):
    """The hash embedding of the head of this file.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
        buckets: Number B of shared vectors.
        hashes: Number k of hash functions.
        seed: Of the hash functions, which belong to the model: files hold their config only.
        deviation: Standard deviation of the vectors' entries at the start.
        generator: Source of random numbers for the start values.

    Example:
        >>> hashed = HashedEmbedding(1000, 64, buckets=100)
        >>> hashed(torch.tensor([1, 999])).shape, hashed.n_parameters
        (torch.Size([2, 64]), 8400)
    """

    factors: Tensor
    offsets: Tensor

    def __init__(
        self,
        vocabulary: int,
        width: int,
        buckets: int,
        hashes: int = 2,
        seed: int = 0,
        deviation: float = 0.02,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(vocabulary, width)
        if vocabulary >= _PRIME:
            raise ValueError(f"HashedEmbedding: vocabulary is below {_PRIME}, got {vocabulary}")
        self.seed, self.deviation = seed, deviation
        self.register_buffer("factors", torch.empty(hashes, dtype=torch.long), persistent=False)
        self.register_buffer("offsets", torch.empty(hashes, dtype=torch.long), persistent=False)
        self.buckets = nn.Parameter(torch.empty(buckets, width))
        self.importances = nn.Parameter(torch.empty(vocabulary, hashes))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the hash functions, which are the seed's, and the start values."""
        drawn, hashes = random.Random(self.seed), len(self.factors)
        self.factors.copy_(torch.tensor([drawn.randrange(1, _PRIME) for _ in range(hashes)]))
        self.offsets.copy_(torch.tensor([drawn.randrange(_PRIME) for _ in range(hashes)]))
        nn.init.normal_(self.buckets, std=self.deviation, generator=generator)
        nn.init.normal_(self.importances, std=hashes**-0.5, generator=generator)

    def hashed(self, tokens: Tensor) -> Tensor:
        """Buckets ``(..., k)`` of token ids ``(...)``."""
        return (tokens[..., None] * self.factors + self.offsets) % _PRIME % len(self.buckets)

    def _vectors(self, tokens: Tensor) -> Tensor:
        weights = embedding(tokens, self.importances)
        return (weights[..., None, :] @ embedding(self.hashed(tokens), self.buckets))[..., 0, :]


@dataclasses.dataclass(frozen=True)
class HashedEmbeddingConfig(EmbeddingConfig):
    """A hash embedding.

    Attributes:
        buckets: number of shared vectors.
        hashes: hash functions, and importances of a token.
        seed: of the hash functions.
        deviation: standard deviation of the vectors' entries at the start.
    """

    kind: ClassVar[str] = "hashed"
    buckets: int = 1024
    hashes: int = 2
    seed: int = 0
    deviation: float = 0.02

    def __post_init__(self) -> None:
        if min(self.buckets, self.hashes) < 1:
            raise ValueError(f"buckets, hashes: expected 1 or more, got {self.buckets}, {self.hashes}")

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> HashedEmbedding:
        """See `EmbeddingConfig`."""
        return HashedEmbedding(vocabulary, width, self.buckets, self.hashes, self.seed, self.deviation, generator)
