"""Facts (head, relation, tail), split so that what is asked at the end was never told, only its reverse.

A relation r has an inverse r': (e1, r, e2) says the same as (e2, r', e1). A set of facts holds those to train on and
those to test with; of a test fact only the reverse is trained.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from separable.atomic_files import replacing
from separable.hdf5 import writing_hdf5


class Fact(NamedTuple):
    """A sentence of three parts; names are words with single spaces between."""

    head: str
    relation: str
    tail: str

    def __str__(self) -> str:
        return f"({self.head}, {self.relation}, {self.tail})"


@dataclasses.dataclass(frozen=True)
class FactSet:
    """Facts to train on and to test with.

    Attributes:
        train: told to the model.
        test: asked at the end; the reverse of each is in ``train``, and itself is not.
        inverses: the inverse of every relation, both ways; a symmetric relation is its own.

    Raises:
        ValueError: On a relation without an inverse, a fact given twice, two facts that contradict each other, a test
            fact that is trained, or one whose reverse is not.

    Example:
        >>> facts = FactSet((Fact("Ada", "wife", "Bo"),), (Fact("Bo", "husband", "Ada"),), {"wife": "husband"})
        >>> facts.inverses["husband"], facts.entities, facts.one_way
        ('wife', ('Ada', 'Bo'), (Fact(head='Ada', relation='wife', tail='Bo'),))
    """

    train: tuple[Fact, ...]
    test: tuple[Fact, ...]
    inverses: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inverses", both_ways(self.inverses))
        places = [(f"train fact {i}", fact, "train") for i, fact in enumerate(self.train, 1)]
        places += [(f"test fact {i}", fact, "test") for i, fact in enumerate(self.test, 1)]
        check_facts(places, self.inverses)

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(sorted({name for fact in (*self.train, *self.test) for name in (fact.head, fact.tail)}))

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """All relations, in order."""
        return tuple(sorted(self.inverses))

    @cached_property
    def one_way(self) -> tuple[Fact, ...]:
        """The trained facts whose reverse is in the test."""
        return tuple(self.reverse(fact) for fact in self.test)

    def reverse(self, fact: Fact) -> Fact:
        """The same said from the other side."""
        return reverse(fact, self.inverses)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``.jsonl`` (a fact a line, with its part and inverse) or ``.h5`` (names and whole numbers).

        The first line of ``.jsonl`` also has the relations of which there is no fact, as ``other_inverses``.
        """
        path = Path(path)
        if path.suffix not in (".jsonl", ".h5"):
            raise ValueError(f"path: expected a name ending in .jsonl or .h5, got {path.name!r}")
        with replacing(path) as temporary:
            if path.suffix == ".jsonl":
                temporary.write_text("".join(self._lines()), encoding="utf-8")
            else:
                self._write_hdf5(temporary)
        return path

    def _lines(self) -> Iterable[str]:
        used = {fact.relation for fact in (*self.train, *self.test)}
        others = {one: other for one, other in self.inverses.items() if not used & {one, other}}
        for part, facts in (("train", self.train), ("test", self.test)):
            for fact in facts:
                row = {**fact._asdict(), "inverse": self.inverses[fact.relation], "part": part}
                if others:
                    row, others = {**row, "other_inverses": others}, {}
                yield json.dumps(row, ensure_ascii=False) + "\n"

    def _write_hdf5(self, path: Path) -> None:
        import h5py
        import numpy as np

        entity = {name: i for i, name in enumerate(self.entities)}
        relation = {name: i for i, name in enumerate(self.relations)}
        with writing_hdf5(path) as file:
            file.attrs["kind"] = "facts"
            file.create_dataset("entities", data=list(self.entities), dtype=h5py.string_dtype())
            file.create_dataset("relations", data=list(self.relations), dtype=h5py.string_dtype())
            file["inverses"] = np.array([relation[self.inverses[name]] for name in self.relations], np.int32)
            for part, facts in (("train", self.train), ("test", self.test)):
                rows = [(entity[f.head], relation[f.relation], entity[f.tail]) for f in facts]
                file[part] = np.array(rows, np.int32).reshape(-1, 3)
                file[part].attrs["columns"] = "head, relation, tail: rows of entities, relations, entities"


def reverse(fact: Fact, inverses: Mapping[str, str]) -> Fact:
    """The same fact said from the other side.

    Example:
        >>> reverse(Fact("Ada", "wife", "Bo"), {"wife": "husband"})
        Fact(head='Bo', relation='husband', tail='Ada')
    """
    return Fact(fact.tail, inverses[fact.relation], fact.head)


def both_ways(inverses: Mapping[str, str]) -> dict[str, str]:
    """Inverses with the inverse of each inverse.

    Raises:
        ValueError: A relation has two inverses.
    """
    found: dict[str, str] = {}
    for pair in inverses.items():
        for relation, inverse in (pair, pair[::-1]):
            if found.setdefault(relation, inverse) != inverse:
                raise ValueError(
                    f"inverses: expected one inverse of {relation!r}, got {found[relation]!r} and {inverse!r}"
                )
    return found


def check_facts(facts: Iterable[tuple[str, Fact, str]], inverses: Mapping[str, str]) -> None:
    """Refuse facts that cannot be trained on and tested with.

    Args:
        facts: where each was found, the fact, and its part, ``train`` or ``test``.
        inverses: of the relations, both ways.

    Raises:
        ValueError: As of `FactSet`; the message names the places.
    """
    facts = list(facts)
    seen: dict[tuple[str, str], tuple[str, Fact, str]] = {}
    trained = set()
    for place, fact, part in facts:
        if any(name != " ".join(name.split()) or not name for name in fact):
            raise ValueError(f"{place}: expected names of words with single spaces between, got {fact!r}")
        if any("\ud800" <= letter <= "\udfff" for name in fact for letter in name):
            raise ValueError(f"{place}: expected Unicode, got half a surrogate pair in {fact!r}")
        if fact.relation not in inverses:
            raise ValueError(
                f"{place}: expected an inverse of relation {fact.relation!r}, got none; "
                f"relations with one are {', '.join(sorted(inverses)) or 'none'}"
            )
        question = (fact.head, fact.relation)
        if question in seen:
            before, other, its_part = seen[question]
            if other == fact and its_part != part:
                raise ValueError(f"{place}: test fact {fact} is in the training facts as well, see {before}")
            kind = "the fact {} is given twice" if other == fact else f"{{}} contradicts {other}"
            raise ValueError(f"{place}: {kind.format(fact)}, see {before}")
        seen[question] = (place, fact, part)
        if part == "train":
            trained.add(fact)
    for place, fact, part in facts:
        if part == "test" and reverse(fact, inverses) not in trained:
            raise ValueError(
                f"{place}: expected the reverse of test fact {fact} in the training facts; it is not there"
            )
    implied: dict[tuple[str, str], tuple[str, Fact]] = {}
    for place, fact, _ in facts:
        turned = reverse(fact, inverses)
        found = seen.get((turned.head, turned.relation))
        if found is not None and found[1] != turned:
            raise ValueError(f"{place}: the reverse of {fact} contradicts {found[1]}, see {found[0]}")
        before, other = implied.setdefault((turned.head, turned.relation), (place, turned))
        if other != turned:
            raise ValueError(
                f"{place}: the reverse of {fact} contradicts that of {reverse(other, inverses)}, see {before}: "
                f"{fact.tail} has one {turned.relation}"
            )
