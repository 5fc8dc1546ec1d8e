"""Vectors computed from the digits of a token: Leviathan as published, and with a better start, norm and digits.

The generator is `separable.layers.LeviathanEmbedding`. As published it reads the digits of a token's id, and vectors
start with a deviation near 0.2 and much in common. `GeneratedEmbedding` is ours: it reads the digits of a token's place
in an order in which neighbours are alike, starts at unit variance, norms each vector, and adds a small table for the
most frequent tokens if asked to,

    embedding_i = rms_norm(generator(place of i)) + residual[i]       residual: zero for all but the F most frequent
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from separable.layers import LeviathanEmbedding
from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding
from separable.sequence.token_order import TokenOrder, frequency_order


class PublishedLeviathan(TokenEmbedding):
    """Leviathan to the letter.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
        sizes: Of `LeviathanEmbedding`: digits, seed_dim, heads, knots, rank.
        generator: Source of random numbers.

    Example:
        >>> leviathan = PublishedLeviathan(1000, 32, {"seed_dim": 16, "heads": 2, "knots": 8, "rank": 8})
        >>> leviathan(torch.tensor([[1, 5], [999, 0]])).shape
        torch.Size([2, 2, 32])
    """

    def __init__(
        self, vocabulary: int, width: int, sizes: dict[str, int | None], generator: torch.Generator | None = None
    ) -> None:
        super().__init__(vocabulary, width)
        self.generator = LeviathanEmbedding(vocabulary, width, **sizes, generator=generator)  # type: ignore[arg-type]

    def _vectors(self, tokens: Tensor) -> Tensor:
        return self.generator(tokens)  # type: ignore[no-any-return]


class GeneratedEmbedding(TokenEmbedding):
    """Leviathan's generator with our choices, see the head of this file.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
        sizes: Of `LeviathanEmbedding`: digits, seed_dim, heads, knots, rank.
        frequent: Number F of tokens with a vector of their own added; the first F ids until `assign` is called.
        generator: Source of random numbers.

    Example:
        >>> sizes = {"digits": 2, "seed_dim": 16, "heads": 2, "knots": 8, "rank": 8}
        >>> generated = GeneratedEmbedding(1000, 32, sizes, frequent=10)
        >>> generated(torch.tensor([[1, 5], [999, 0]])).shape
        torch.Size([2, 2, 32])
    """

    slot: Tensor

    def __init__(
        self,
        vocabulary: int,
        width: int,
        sizes: dict[str, int | None],
        frequent: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(vocabulary, width)
        if not 0 <= frequent <= vocabulary:
            raise ValueError(f"GeneratedEmbedding: frequent lies in 0 .. {vocabulary}, got {frequent}")
        self.generator = LeviathanEmbedding(
            vocabulary,
            width,
            **sizes,  # type: ignore[arg-type]
            output_std=1.0,
            normalise=True,
            generator=generator,
        )
        self.order = TokenOrder(vocabulary)
        self.frequent = frequent
        if frequent:
            self.residual = nn.Parameter(torch.zeros(frequent, width))
            self.register_buffer("slot", torch.arange(vocabulary).where(torch.arange(vocabulary) < frequent, -1))

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """See `TokenEmbedding`: digits follow the order, and the residual table the counts."""
        self.order.assign(order)
        if self.frequent:
            chosen = frequency_order(counts)[: self.frequent].to(self.slot.device)
            self.slot.fill_(-1)
            self.slot[chosen] = torch.arange(self.frequent, device=self.slot.device)

    def _vectors(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.generator(self.order.place[tokens])
        if not self.frequent:
            return vectors
        slot = self.slot[tokens]
        own = embedding(slot.clamp(min=0), self.residual)
        return vectors + own * (slot >= 0)[..., None].to(own.dtype)


@dataclasses.dataclass(frozen=True)
class LeviathanEmbeddingConfig(EmbeddingConfig):
    """Leviathan as published.

    Attributes:
        digits: of a token's id.
        seed_dim: features of the sum of the digits' codes, and coordinates of each product.
        heads: of the generator.
        knots: spline kernels a coordinate.
        rank: products a head.
        chunk_size: distinct tokens whose factors are made at a time; by default as many as suit the device.
    """

    kind: ClassVar[str] = "leviathan"
    digits: int = 3
    seed_dim: int = 128
    heads: int = 8
    knots: int = 16
    rank: int = 64
    chunk_size: int | None = None

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> PublishedLeviathan:
        """See `EmbeddingConfig`."""
        return PublishedLeviathan(vocabulary, width, dataclasses.asdict(self), generator)


@dataclasses.dataclass(frozen=True)
class GeneratedEmbeddingConfig(EmbeddingConfig):
    """Leviathan's generator at unit variance, normed, on the digits of an order; 110 thousand numbers for V = 8192.

    Attributes:
        digits: of a token's place.
        seed_dim: features of the sum of the digits' codes, and coordinates of each product.
        heads: of the generator.
        knots: spline kernels a coordinate.
        rank: products a head.
        frequent: tokens, the most frequent ones, that have a vector of their own added.
        chunk_size: distinct tokens whose factors are made at a time; by default as many as suit the device.
    """

    kind: ClassVar[str] = "generated"
    digits: int = 2
    seed_dim: int = 64
    heads: int = 4
    knots: int = 8
    rank: int = 32
    frequent: int = 0
    chunk_size: int | None = None

    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> GeneratedEmbedding:
        """See `EmbeddingConfig`."""
        sizes: dict[str, Any] = dataclasses.asdict(self)
        return GeneratedEmbedding(vocabulary, width, sizes, sizes.pop("frequent"), generator)
