"""Reversible facts of any size from a seed: a group told both ways teaches what a relation means, another is asked.

Group A, N entities: for each of n pairs of relations (r, r') a random pairing; of each pair (e1, e2) both (e1, r, e2)
and (e2, r', e1) are trained. Group B, M entities: the same, but a coin picks the one of both that is trained; the
other is the test. Names are of one word (concept level) or of a first and a last word, each shared by m names
(surface level).

Source: Wang and Sun (2025, arXiv:2504.01928), section 3; there N = 50,000, M = 0.6 N and n = 6.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from domains.language.reversal.facts import Fact, FactSet, reverse
from domains.language.reversal.natural_names import natural_names

Naming = Literal["concept", "surface", "natural"]


@dataclasses.dataclass(frozen=True)
class ReversibleFactsConfig:
    """Sizes of a set of facts.

    Attributes:
        both_ways: entities N of group A, an even number.
        one_way: entities M of group B, an even number.
        pairs: pairs n of a relation and its inverse.
        naming: names of one word ("concept"), of two shared words ("surface"), or like those of people ("natural").
        multiplicity: number m of names that share a first word, and that share a last word, at the surface level.
        unique_tails: whether the last word of a surface name is in no other name.
        seed: of everything.
    """

    both_ways: int = 1000
    one_way: int = 600
    pairs: int = 2
    naming: Naming = "surface"
    multiplicity: int = 10
    unique_tails: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("both_ways", "one_way"):
            size = getattr(self, name)
            if size < 2 or size % 2:
                raise ValueError(f"{name}: expected an even number of entities, at least 2, got {size}")
        for name in ("pairs", "multiplicity"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.naming not in ("concept", "surface", "natural"):
            raise ValueError(f"naming: expected concept, surface or natural, got {self.naming!r}")


def reversible_facts(config: ReversibleFactsConfig | None = None) -> FactSet:
    """Make facts.

    Raises:
        ValueError: There are too few different names: two shared words give ``((N + M) / m)^2`` at most.

    Example:
        >>> facts = reversible_facts(ReversibleFactsConfig(both_ways=100, one_way=60))
        >>> len(facts.train), len(facts.test), facts.train[0].head
        (260, 60, 'first9 last15')
    """
    config = config or ReversibleFactsConfig()
    random = np.random.default_rng([config.seed, 0])
    count = config.both_ways + config.one_way
    names = _names(config, count, random)
    inverses = {f"relation{i}": f"inverse{i}" for i in range(config.pairs)}
    train: list[Fact] = []
    test: list[Fact] = []
    for relation, inverse in inverses.items():
        turn = {relation: inverse, inverse: relation}
        for pair in random.permutation(config.both_ways).reshape(-1, 2):
            fact = Fact(names[pair[0]], relation, names[pair[1]])
            train += [fact, reverse(fact, turn)]
        for pair in config.both_ways + random.permutation(config.one_way).reshape(-1, 2):
            fact = Fact(names[pair[0]], relation, names[pair[1]])
            if random.random() < 0.5:
                fact = reverse(fact, turn)
            train.append(fact)
            test.append(reverse(fact, turn))
    return FactSet(tuple(train), tuple(test), inverses)


def _names(config: ReversibleFactsConfig, count: int, random: np.random.Generator) -> tuple[str, ...]:
    if config.naming == "natural":
        return natural_names(count, config.seed)
    if config.naming == "concept":
        return tuple(f"entity{i}" for i in random.permutation(count))
    words = -(-count // config.multiplicity)
    if words * (1 if config.unique_tails else words) < count and not config.unique_tails:
        raise ValueError(
            f"multiplicity: expected at most {int(count**0.5)} for {count} names, got {config.multiplicity}"
        )
    first = random.permutation(np.arange(count) % words)
    last = random.permutation(count) if config.unique_tails else _matched(first, words, random)
    return tuple(f"first{a} last{b}" for a, b in zip(first, last, strict=True))


def _matched(first: np.ndarray, words: int, random: np.random.Generator) -> np.ndarray:
    """Last words in a random order in which no pair of first and last word comes twice."""
    last = random.permutation(np.arange(len(first)) % words)
    for _ in range(10_000):
        _, kept = np.unique(first * words + last, return_index=True)
        repeated = np.setdiff1d(np.arange(len(first)), kept)
        if not len(repeated):
            return last
        for i, j in zip(repeated, random.integers(len(first), size=len(repeated)), strict=True):
            last[i], last[j] = last[j], last[i]
    raise ValueError(
        f"multiplicity: found no {len(first)} different names of two of {words} words; choose a smaller one"
    )
