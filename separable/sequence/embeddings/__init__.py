"""Token embeddings that can be exchanged for one another: each a module and a config of plain data."""

from typing import Any

from separable.sequence.embeddings.embedding import EmbeddingConfig, TokenEmbedding
from separable.sequence.embeddings.table import TableEmbedding, TableEmbeddingConfig

EMBEDDINGS: dict[str, type[EmbeddingConfig]] = {config.kind: config for config in (TableEmbeddingConfig,)}


def embedding_config(kind: str, **settings: Any) -> EmbeddingConfig:
    """The config of a kind of embedding from plain data, as `EmbeddingConfig.settings` gives it.

    Raises:
        ValueError: If there is no such kind or setting.

    Example:
        >>> embedding_config("table", deviation=0.1)
        TableEmbeddingConfig(deviation=0.1)
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
    "TableEmbedding",
    "TableEmbeddingConfig",
    "TokenEmbedding",
    "embedding_config",
]
