"""What every token embedding has: a config that is plain data, and a module from token ids to vectors."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Module, abc.ABC):
    """Vectors for V tokens.

    Args:
        vocabulary: Number V of tokens.
        width: Features of a vector.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        if vocabulary < 1 or width < 1:
            raise ValueError(f"{type(self).__name__}: sizes are positive, got {vocabulary} x {width}")
        self.vocabulary, self.width = vocabulary, width

    @abc.abstractmethod
    def table(self) -> Tensor:
        """The vectors of all tokens ``(V, width)``, with gradients where they are enabled."""

    @abc.abstractmethod
    def _vectors(self, tokens: Tensor) -> Tensor:
        """Vectors ``(..., width)`` of valid token ids ``(...)``."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors ``(..., width)`` of token ids ``(...)``, any integer dtype.

        Raises:
            TypeError: If the ids are not integers.
            IndexError: If one lies outside 0 .. V - 1 (reads the data; compiled code leaves this check out).
        """
        check_tokens(tokens, self.vocabulary)
        return self._vectors(tokens.long())

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.vocabulary}, {self.width}, {self.n_parameters} parameters"


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(abc.ABC):
    """Settings of one kind of embedding; `kind` is its name in files and on the command line."""

    kind: ClassVar[str]

    @abc.abstractmethod
    def build(self, vocabulary: int, width: int, generator: torch.Generator | None = None) -> TokenEmbedding:
        """The embedding of V tokens as vectors of a width, with start values from a generator."""

    def settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


def check_tokens(tokens: Tensor, vocabulary: int) -> None:
    """Refuse what is no token id.

    Raises:
        TypeError: If the ids are not integers.
        IndexError: If one lies outside 0 .. V - 1 (reads the data; compiled code leaves this check out).
    """
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise TypeError(f"tokens: expected integers, got {tokens.dtype}")
    if torch.compiler.is_compiling() or not tokens.numel():
        return
    lowest, highest = (int(end) for end in tokens.aminmax())
    if lowest < 0 or highest >= vocabulary:
        raise IndexError(f"tokens: expected 0 .. {vocabulary - 1}, got {lowest if lowest < 0 else highest}")
