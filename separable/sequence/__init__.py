"""Models of sequences: a transformer from vectors to vectors, and language models built on it."""

from separable.sequence.cache import Cache
from separable.sequence.language_model import LanguageModel, LanguageModelConfig
from separable.sequence.product_key_memory import ProductKeyMemory
from separable.sequence.sampling import sample
from separable.sequence.token_order import TokenOrder, context_order, frequency_order
from separable.sequence.transformer import Transformer, TransformerConfig

__all__ = [
    # from vectors to vectors
    "Cache",
    "ProductKeyMemory",
    "Transformer",
    "TransformerConfig",
    # from tokens to tokens
    "LanguageModel",
    "LanguageModelConfig",
    "TokenOrder",
    "context_order",
    "frequency_order",
    "sample",
]
