"""Models that are told facts and answer questions, behind one interface: rows of names in, scores of all entities out.

The joint-embedding model predicts the concept of a tail from those of head and relation. Its predictor is ours,

    g(h, r) = W ((A h) * (B r + b))                                      A, B (rank, width), W (width, rank), b (rank)

a canonical polyadic map of rank R, linear in the head, so that a relation is a linear map and its inverse's map can
undo it for every entity alike. It does so in the directions in which facts told from both sides lie. Facts told from
one side would in time move into others, where the inverse's map is free, and their reverse would be forgotten. So the
maps M_r = W diag(B r + b) A are held near rotations, which leave no direction free, by a part of the loss,

    w  mean over relations of  |M_r M_r^T / t_r - I|^2 / d               t_r = tr(M_r M_r^T) / d

Or the predictor is the published one, a causal transformer over head, relation and a learned mask.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domains.language.reversal.facts import Fact
from domains.language.reversal.recognisers import RecogniserConfig
from separable.sequence import Transformer, TransformerConfig
from separable.sequence.joint_embedding import ConceptNorm, JointEmbedding, Norm

Predictor = Literal["separable", "transformer"]
Negatives = Literal["batch", "tails"]
_ROTATED = 64  # relations of a batch whose maps are looked at, at most


@dataclasses.dataclass(frozen=True)
class JointModelConfig:
    """A joint-embedding model.

    Attributes:
        recogniser: from names to concepts.
        width: of concepts.
        predictor: ours, "separable", or the published "transformer".
        rank: R of the separable predictor; by default 4 times the width.
        symmetric: whether the separable predictor takes head and relation in either order.
        rotations: weight w of what holds the relations' maps near rotations, of the separable predictor.
        layers: of the transformer.
        heads: of the transformer.
        norm: of concepts, see `ConceptNorm`.
        scale: of the scores with the norm "unit".
        negatives: concepts that a tail is told from: all of the batch, or its tails.
        shared: whether heads and tails have the same recogniser.
    """

    recogniser: RecogniserConfig = dataclasses.field(default_factory=RecogniserConfig)
    width: int = 64
    predictor: Predictor = "separable"
    rank: int | None = None
    symmetric: bool = False
    rotations: float = 0.3
    layers: int = 1
    heads: int = 4
    norm: Norm = "unit"
    scale: float = 10.0
    negatives: Negatives = "batch"
    shared: bool = True

    def __post_init__(self) -> None:
        if self.predictor not in ("separable", "transformer"):
            raise ValueError(f"predictor: expected separable or transformer, got {self.predictor!r}")
        if self.negatives not in ("batch", "tails"):
            raise ValueError(f"negatives: expected batch or tails, got {self.negatives!r}")
        for name in ("width", "rank", "layers", "heads"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        if not 0 <= self.rotations < math.inf:
            raise ValueError(f"rotations: expected a weight of at least 0, got {self.rotations}")

    def build(
        self, entities: Sequence[str], relations: Sequence[str], generator: torch.Generator | None = None
    ) -> JointFactModel:
        """An untrained model."""
        return JointFactModel(self, entities, relations, generator)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> JointModelConfig:
        """From plain JSON data."""
        return cls(**settings | {"recogniser": RecogniserConfig(**settings["recogniser"])})


class FactLists:
    """The names that a model knows as answers and as relations.

    Args:
        entities: Names that can be answers.
        relations: Names of relations; one that is an entity as well is the same name.
    """

    def __init__(self, entities: Sequence[str], relations: Sequence[str]) -> None:
        self.entities, self.relations = tuple(dict.fromkeys(entities)), tuple(dict.fromkeys(relations))
        self.names = tuple(dict.fromkeys((*self.entities, *self.relations)))
        self._rows = {name: row for row, name in enumerate(self.names)}
        self._known = frozenset(self.relations)

    def rows(self, facts: Sequence[Fact]) -> Tensor:
        """Facts as whole numbers ``(n, 3)``: rows of head, relation and tail among the names, entities first.

        Raises:
            ValueError: If a name is in none of the lists.
        """
        found = []
        for fact in facts:
            if fact.relation not in self._known:
                known = ", ".join(self.relations[:10])
                raise ValueError(f"{fact}: expected one of the relations {known} .., got {fact.relation!r}")
            for name in (fact.head, fact.tail):
                if self._rows.get(name, len(self.entities)) >= len(self.entities):
                    raise ValueError(f"{fact}: expected entities of the list, got {name!r}")
            found.append([self._rows[name] for name in fact])
        return torch.tensor(found, dtype=torch.long).reshape(-1, 3)


class FactModel(FactLists, nn.Module, ABC):
    """A model of facts over lists of entities and relations.

    Args:
        entities: Names that can be answers.
        relations: Names of relations.
    """

    def __init__(self, entities: Sequence[str], relations: Sequence[str]) -> None:
        nn.Module.__init__(self)
        FactLists.__init__(self, entities, relations)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    @abstractmethod
    def loss(self, rows: Tensor, step: Tensor | None = None) -> Tensor:
        """Mean loss of facts ``(B, 3)``; of a part of the facts of a step, these too ``(S, 3)``."""

    @abstractmethod
    def scores(self, rows: Tensor) -> Tensor:
        """Log-probabilities, up to a constant a row, of all entities as tails: ``(B, E)`` from heads and relations."""


class SeparablePredictor(nn.Module):
    """The map g of the head of this file, for two concepts of context.

    Args:
        width: Of concepts.
        rank: R.
        symmetric: Whether A and b are those of the relation, so that the order of the two does not matter.
        generator: Of the start values.
    """

    def __init__(
        self, width: int, rank: int, symmetric: bool = False, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.relation, self.readout = nn.Linear(width, rank), nn.Linear(rank, width, bias=False)
        self.head = self.relation if symmetric else nn.Linear(width, rank, bias=False)
        for layer in dict.fromkeys((self.head, self.relation, self.readout)):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        nn.init.zeros_(self.relation.bias)

    def forward(self, concepts: Tensor) -> Tensor:
        """``(B, 2, width)`` to ``(B, width)``."""
        return self.readout(self.head(concepts[:, 0]) * self.relation(concepts[:, 1]))

    def far_from_rotations(self, relations: Tensor) -> Tensor:
        """Mean of |M M^T / t - I|^2 / d over the maps of relations with concepts ``(n, width)``."""
        maps = (self.readout.weight * self.relation(relations)[:, None]) @ self.head.weight
        squares = maps @ maps.mT
        traces = squares.diagonal(dim1=1, dim2=2).mean(1)
        unit = torch.eye(squares.shape[-1], device=squares.device)
        return (squares / traces[:, None, None] - unit).square().sum((1, 2)).mean() / len(unit)


class TransformerPredictor(nn.Module):
    """The published semantic module: a causal transformer whose state at a learned mask is the prediction.

    Args:
        config: Sizes.
        generator: Of the start values.
    """

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.transformer = Transformer(config, generator)
        self.mask = nn.Parameter(torch.randn(config.width, generator=generator))

    def forward(self, concepts: Tensor) -> Tensor:
        """``(B, K, width)`` to ``(B, width)``."""
        mask = self.mask.expand(len(concepts), 1, -1)
        return self.transformer(torch.cat([concepts, mask], 1))[:, -1]


class JointFactModel(FactModel):
    """The joint-embedding model of the head of this file; its parameters depend on the names only if its memory does.

    Args:
        config: What it is made of.
        entities: Names that can be answers.
        relations: Names of relations; they go through the recogniser like entities.
        generator: Of the start values.

    Example:
        >>> model = JointModelConfig().build(["Ada Lind", "Bo Ek"], ["wife", "husband"])
        >>> rows = model.rows([Fact("Ada Lind", "wife", "Bo Ek")])
        >>> model.loss(rows).ndim, model.scores(rows).shape
        (0, torch.Size([1, 2]))
        >>> model.extended(["Cy Ek"]).n_parameters == model.n_parameters
        True
    """

    addresses: Tensor

    def __init__(
        self,
        config: JointModelConfig,
        entities: Sequence[str],
        relations: Sequence[str],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(entities, relations)
        self.config = config
        # Of these the memory was made; later names are read with the words of these.
        self.first = len(self.entities), len(self.relations)
        names = self.names
        recogniser = config.recogniser.build(names, config.width, generator)
        other = None if config.shared else config.recogniser.build(names, config.width, generator)
        predictor: nn.Module
        if config.predictor == "separable":
            predictor = SeparablePredictor(config.width, config.rank or 4 * config.width, config.symmetric, generator)
        else:
            sizes = TransformerConfig(width=config.width, layers=config.layers, heads=config.heads)
            predictor = TransformerPredictor(sizes, generator)
        self.joint = JointEmbedding(recogniser, predictor, ConceptNorm(config.width, config.norm, config.scale), other)
        self.register_buffer("addresses", recogniser.addresses(names), persistent=False)

    @property
    def recogniser(self) -> Any:
        """The module that turns names into concepts."""
        return self.joint.recogniser

    def loss(self, rows: Tensor, step: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Mean cross-entropy of the tails' concepts among those of the step, and what holds maps near rotations.

        Of many relations those whose maps are looked at are drawn, from the generator or by torch's own numbers.
        """
        step = rows if step is None else step
        distinct = step.unique()
        where = torch.searchsorted(distinct, rows)
        context, target = where[:, :2], where[:, 2]
        negatives = None
        if self.config.negatives == "tails":
            negatives = torch.isin(distinct, step[:, 2])
        found = self.joint.loss(self.addresses[distinct], context, target, negatives)
        predictor = self.joint.predictor
        if isinstance(predictor, SeparablePredictor) and self.config.rotations:
            some = step[:, 1].unique()
            if len(some) > _ROTATED:  # others in every step
                device = some.device if generator is None else generator.device
                some = some[torch.randperm(len(some), generator=generator, device=device)[:_ROTATED].to(some.device)]
            rotated = predictor.far_from_rotations(self.joint.concepts(self.addresses[some]))
            found = found + self.config.rotations * rotated
        return found

    def scores(self, rows: Tensor) -> Tensor:
        """Scores ``(B, E)`` of all entities."""
        concepts = self.joint.concepts(self.addresses)
        targets = concepts[: len(self.entities)]
        if self.joint.target_recogniser is not None:
            targets = self.joint.target_concepts(self.addresses[: len(self.entities)])
        return self.joint.norm.scale * self.joint.predict(concepts[rows[:, :2]]) @ targets.T

    def extended(self, entities: Sequence[str], relations: Sequence[str] = ()) -> JointFactModel:
        """The same parameters over longer lists of entities and relations.

        Raises:
            ValueError: If the memory has a value for each name and so none for another.
        """
        if self.config.recogniser.memory == "fixed keys":
            raise ValueError("memory: one of fixed keys takes no names beside its list; train one of memory hashed")
        other = copy.copy(self)  # parameters are shared
        other._buffers = dict(self._buffers)
        FactLists.__init__(other, (*self.entities, *entities), (*self.relations, *relations))
        other.addresses = self.recogniser.addresses(other.names).to(self.addresses.device)
        return other
