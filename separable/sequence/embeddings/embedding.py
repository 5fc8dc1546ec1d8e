"""What every token embedding has: a config that is plain data, a module from ids to vectors, and a lookup.

In evaluation without gradients a computed vector is kept and looked up from then on, until a parameter changes; after
`TokenEmbedding.table` all are, and a lookup is one in a table. That takes V times width numbers, which are not part of
the model's state.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from separable.layers.derivatives import looked_into

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on


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
        self._kept: _KeptVectors | None = None

    @abc.abstractmethod
    def _vectors(self, tokens: Tensor) -> Tensor:
        """Vectors ``(..., width)`` of valid token ids ``(...)``."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors ``(..., width)`` of token ids ``(...)``, any integer dtype.

        Raises:
            TypeError: If the ids are not integers.
            IndexError: If one lies outside 0 .. V - 1 (reads the data; compiled and transformed code leave
                this check out).
        """
        if not self._keeps():
            self._kept = None  # a fused optimiser leaves no trace, but gradients were asked for before it
            check_tokens(tokens, self.vocabulary)
            return self._vectors(tokens.long())
        if tokens.device.type != "cpu" or tokens.dtype != torch.long:
            check_tokens(tokens, self.vocabulary)
            tokens = tokens.long()
        try:
            return functional.embedding(tokens, self._kept_vectors(tokens))
        except IndexError:  # on a CPU the lookup itself sees what is no token, and is not made to look twice
            check_tokens(tokens, self.vocabulary)
            raise

    def table(self) -> Tensor:
        """The vectors of all tokens ``(V, width)``, with gradients where they are enabled."""
        tokens = torch.arange(self.vocabulary, device=next(self.parameters()).device)
        return self._kept_vectors(tokens) if self._keeps() else self._vectors(tokens)

    def assign(self, counts: Tensor, order: Tensor) -> None:
        """Tell the embedding how often tokens occur and which are alike, before training; most kinds do not ask.

        Args:
            counts: Of each token in the training data, ``(V,)``.
            order: Token ids ``(V,)`` such that neighbours are alike, see `separable.sequence.token_order`.
        """

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; vectors that were kept go."""
        self._kept = None  # parameters that are gathered from several processes change without a trace
        return super().train(mode)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.vocabulary}, {self.width}, {self.n_parameters} parameters"

    def _keeps(self) -> bool:
        return not (self.training or torch.is_grad_enabled() or looked_into())

    def _kept_vectors(self, tokens: Tensor) -> Tensor:
        try:
            held = [value for value in _state(self) if value is not None]
            state: list[Any] = [(value.data_ptr(), value._version) for value in held]
            # What is written through `.data`, and by a fused optimiser, is counted nowhere: sums tell it.
            state.append(torch.stack([value.detach().sum(dtype=torch.float64) for value in held]).tolist())
        except RuntimeError:  # tensors made in inference mode do not count their changes
            return self._vectors(torch.arange(self.vocabulary, device=tokens.device))
        stamp = (torch.is_autocast_enabled(tokens.device.type), state)
        if self._kept is None or self._kept.stamp != stamp:
            with torch.inference_mode(False):  # what is made there cannot be written in elsewhere
                self._kept = _KeptVectors(stamp, torch.zeros(self.vocabulary, dtype=torch.bool, device=tokens.device))
        return self._kept.of(tokens, self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


def _state(module: nn.Module) -> list[Tensor | None]:
    """Parameters and buffers, in a tenth of the time that asking for them with their names takes."""
    found = [*module._parameters.values(), *module._buffers.values()]
    for child in module._modules.values():
        if child is not None:
            found += _state(child)
    return found


class _KeptVectors:
    def __init__(self, stamp: tuple[Any, ...], known: Tensor) -> None:
        self.stamp, self.known = stamp, known
        self.vectors: Tensor | None = None
        self.complete = False

    def of(self, tokens: Tensor, embedding: TokenEmbedding) -> Tensor:
        """A table whose rows are right for these tokens at least."""
        if self.vectors is not None and self.complete:
            return self.vectors
        known = self.known.index_select(0, tokens.flatten())
        if self.vectors is None or not bool(known.all()):
            missing = torch.unique(tokens.flatten()[~known])
            found = embedding._vectors(missing)
            if self.vectors is None:
                with torch.inference_mode(False):
                    self.vectors = found.new_zeros(len(self.known), found.shape[-1])
            self.vectors[missing] = found
            self.known[missing] = True
            self.complete = bool(self.known.all())
        return self.vectors


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
        IndexError: If one lies outside 0 .. V - 1 (reads the data; compiled and transformed code leave
            this check out).
    """
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise TypeError(f"tokens: expected integers, got {tokens.dtype}")
    if looked_into(tokens) or not tokens.numel():
        return
    lowest, highest = (int(end) for end in tokens.long().aminmax())
    if lowest < 0 or highest >= vocabulary:
        raise IndexError(f"tokens: expected 0 .. {vocabulary - 1}, got {lowest if lowest < 0 else highest}")
