"""Token embeddings that can be exchanged for one another: each a module and a config of plain data."""

from typing import Any

from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding, check_tokens
from separable.sequence.embeddings.factorised import (
    FactorisedEmbedding,
    LowRankEmbeddingConfig,
    TensorTrainEmbeddingConfig,
)
from separable.sequence.embeddings.hashed import HashedEmbedding, HashedEmbeddingConfig
from separable.sequence.embeddings.leviathan import (
    GeneratedEmbedding,
    GeneratedEmbeddingConfig,
    LeviathanEmbeddingConfig,
    PublishedLeviathan,
)
from separable.sequence.embeddings.table import TableEmbedding, TableEmbeddingConfig

EMBEDDINGS: dict[str, type[EmbeddingConfig]] = {
    config.kind: config
    for config in (
        TableEmbeddingConfig,
        LowRankEmbeddingConfig,
        TensorTrainEmbeddingConfig,
        HashedEmbeddingConfig,
        LeviathanEmbeddingConfig,
        GeneratedEmbeddingConfig,
    )
}


def embedding_config(kind: str, **settings: Any) -> EmbeddingConfig:
    """The config of a kind of embedding from plain data, as `EmbeddingConfig.settings` gives it.

    Raises:
        ValueError: If there is no such kind or setting.

    Example:
        >>> embedding_config("low_rank", rank=64)
        LowRankEmbeddingConfig(rank=64, deviation=0.02)
    """
    if kind not in EMBEDDINGS:
        raise ValueError(f"embedding: expected one of {', '.join(EMBEDDINGS)}; got {kind!r}")
    try:
        return EMBEDDINGS[kind](**settings)
    except TypeError as error:
        raise ValueError(f"embedding {kind}: {error}") from None


__all__ = [
    "EMBEDDINGS",
    "EmbeddingConfig",
    "TokenEmbedding",
    "check_tokens",
    "embedding_config",
    # kinds
    "FactorisedEmbedding",
    "GeneratedEmbedding",
    "HashedEmbedding",
    "PublishedLeviathan",
    "TableEmbedding",
    # their configs
    "GeneratedEmbeddingConfig",
    "HashedEmbeddingConfig",
    "LeviathanEmbeddingConfig",
    "LowRankEmbeddingConfig",
    "TableEmbeddingConfig",
    "TensorTrainEmbeddingConfig",
]
