"""The causal transformer on facts: head, relation, and then the words of the tail, each from those before.

A fact is one sequence of 2 L + 1 words, with L those of the longest name; a shorter name ends in pads. The loss is that
of the tail's words. An entity's score is the log-probability of its name, so a question is answered among all entities.

Source: the transformer of Wang and Sun (2025, arXiv:2504.01928); deviations: positions are rotary, not left out, and
norms are by the root mean square.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from domains.language.reversal.model import FactModel
from domains.language.reversal.recognisers import padded_words, word_numbers
from separable.sequence import Transformer, TransformerConfig
from separable.sequence.joint_embedding import ConceptNorm, Norm

_SEQUENCES = 2048  # evaluated at a time when all names are scored
_START = 0.02  # standard deviation of the table's start values


@dataclasses.dataclass(frozen=True)
class TransformerModelConfig:
    """A causal transformer on facts.

    Attributes:
        width: of a position.
        layers: their number.
        heads: of a layer.
        tied: whether the table of words is that of inputs and outputs.
        norm: of states and of the outputs' table before they are multiplied, see `ConceptNorm`; none as published.
        scale: of the logits with the norm "unit".
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    tied: bool = True
    norm: Norm | None = None
    scale: float = 10.0

    def build(
        self, entities: Sequence[str], relations: Sequence[str], generator: torch.Generator | None = None
    ) -> TransformerFactModel:
        """An untrained model."""
        return TransformerFactModel(self, entities, relations, generator)


class TransformerFactModel(FactModel):
    """The transformer of the head of this file.

    Args:
        config: Sizes.
        entities: Names that can be answers.
        relations: Names of relations, of one word each.
        generator: Of the start values.

    Raises:
        ValueError: If a relation has several words.

    Example:
        >>> from domains.language.reversal.facts import Fact
        >>> model = TransformerModelConfig().build(["Ada Lind", "Bo Ek"], ["wife", "husband"])
        >>> rows = model.rows([Fact("Ada Lind", "wife", "Bo Ek")])
        >>> model.loss(rows).ndim, model.scores(rows).shape
        (0, torch.Size([1, 2]))
    """

    words: Tensor
    first_words: Tensor

    def __init__(
        self,
        config: TransformerModelConfig,
        entities: Sequence[str],
        relations: Sequence[str],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(entities, relations)
        for relation in self.relations:
            if " " in relation:
                raise ValueError(f"relations: expected one word each for the transformer, got {relation!r}")
        self.config = config
        vocabulary = word_numbers(self.names)
        # Number 0 is for words of no list; there are none here, so it is the pad.
        self.register_buffer("words", padded_words(self.entities, vocabulary).clamp(min=0), persistent=False)
        self.register_buffer("first_words", padded_words(self.names, vocabulary)[:, :1], persistent=False)
        sizes = TransformerConfig(width=config.width, layers=config.layers, heads=config.heads)
        self.transformer = Transformer(sizes, generator)
        self.table = nn.Parameter(torch.empty(len(vocabulary) + 1, config.width))
        self.readout = None if config.tied else nn.Parameter(torch.empty_like(self.table))
        for table in (self.table, self.readout):
            if table is not None:
                nn.init.normal_(table, std=_START, generator=generator)
        self.norm = None if config.norm is None else ConceptNorm(config.width, config.norm, config.scale)

    def loss(self, rows: Tensor, step: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the words of the tails, pads included."""
        del step  # a fact's words are told from all others
        tails = self.words[rows[:, 2]]
        logits = self._logits(torch.cat([self._questions(rows), tails[:, :-1]], 1), tails.shape[1])
        return cross_entropy(logits.flatten(0, 1), tails.flatten())

    def scores(self, rows: Tensor) -> Tensor:
        """Log-probabilities ``(B, E)`` of the names of all entities."""
        questions = self._questions(rows)
        total = torch.zeros(len(rows), len(self.entities), device=rows.device)
        for place in range(self.words.shape[1]):
            # Entities whose names begin alike share one evaluation.
            beginnings, where = self._beginnings(place)
            many = len(beginnings)
            size = max(1, _SEQUENCES // many)
            for first in range(0, len(rows), size):
                asked = questions[first : first + size]
                tokens = torch.cat([asked.repeat_interleave(many, 0), beginnings.repeat(len(asked), 1)], 1)
                chances = self._logits(tokens, 1)[:, 0].log_softmax(-1).view(len(asked), many, -1)
                total[first : first + size] += chances[:, where, self.words[:, place]]
        return total

    def _beginnings(self, place: int) -> tuple[Tensor, Tensor]:
        """The distinct first words of names, ``(n, place)``, and which each entity has."""
        if not place:  # torch has no unique rows without columns
            return self.words[:1, :0], torch.zeros_like(self.words[:, 0])
        beginnings, where = self.words[:, :place].unique(dim=0, return_inverse=True)
        return beginnings, where

    def _questions(self, rows: Tensor) -> Tensor:
        return torch.cat([self.words[rows[:, 0]], self.first_words[rows[:, 1]]], 1)

    def _logits(self, tokens: Tensor, last: int) -> Tensor:
        """Logits of the words that follow the last positions, ``(B, last, V)``."""
        states = self.transformer(self.table[tokens])[:, -last:]
        table = self.table if self.readout is None else self.readout
        if self.norm is None:
            return states @ table.T
        return self.norm.scale * self.norm(states) @ self.norm(table).T
