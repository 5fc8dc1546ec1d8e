"""Free questions: who is somebody's wife, how sure is the answer, and is the name known at all.

The answer a to (h, r) is asked back: with the inverse r' of r, a has to lead to h among all entities. The confidence is

    p(a | h, r) p(h | a, r')

A name that the model was never told has some concept too, and so some answer; but that answer does not lead back to it.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from domains.language.reversal.facts import Fact
from domains.language.reversal.model import JointFactModel


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to a question.

    Attributes:
        head: whom the question is about.
        relation: that is asked for.
        candidates: names of entities with their probabilities, the best first.
        confidence: in the first of them, in [0, 1], see the head of this file.
        known: whether the confidence is that of somebody known.
    """

    head: str
    relation: str
    candidates: tuple[tuple[str, float], ...]
    confidence: float
    known: bool

    def __str__(self) -> str:
        if not self.known:
            return (
                f"unknown: I was told nothing about {self.head} and {self.relation} (confidence {self.confidence:.2f})"
            )
        return f"{self.candidates[0][0]} (confidence {self.confidence:.2f})"


def parse_question(question: str, relations: Sequence[str], entities: Collection[str] = ()) -> tuple[str, str]:
    """Head and relation of a question.

    Understood are "who is Ada Lind's wife?", "who is the wife of Ada Lind?" and "Ada Lind, wife".

    Args:
        question: In words.
        relations: That are known.
        entities: Names that are known, by which a head is told from the question's own marks: "Sam Davis Jr." may end
            in its own full stop, and "O\u2019Hara" be written with either apostrophe.

    Raises:
        ValueError: If it has none of these forms, or the relation is none of those.

    Example:
        >>> parse_question("Who is Ada Lind 's wife?", ["wife", "husband"])
        ('Ada Lind', 'wife')
        >>> parse_question("who was the mother in law of Bo Ek", ["mother in law", "mother"])
        ('Bo Ek', 'mother in law')
    """
    asked = " ".join(question.split()).rstrip(" ?")
    asked = re.sub(r"^(who|what|which|where)(\s+(is|are|was|were)|['\u2019]s)\s+", "", asked, flags=re.IGNORECASE)
    understood = []
    for case in ("", "i"):  # relations may differ in nothing but their capitals
        for relation in sorted(relations, key=len, reverse=True):
            words = f"(?{case}:{re.escape(relation)})"
            for form in (
                rf"(?P<head>.+?)\s*['\u2019](?i:s)\s+{words}\.?",
                rf"(?i:the\s+)?{words}\s+(?i:of)\s+(?P<head>.+)",
                rf"(?P<head>.+?),\s*{words}\.?",
            ):
                if found := re.fullmatch(form, asked):
                    understood.append((_as_known(found["head"].strip(), entities), relation))
    if understood:
        return next((each for each in understood if each[0] in entities), understood[0])
    raise ValueError(
        f'question: expected "who is NAME\'s RELATION", "who is the RELATION of NAME" or "NAME, RELATION" with '
        f"one of {', '.join(sorted(relations))}; got {question!r}"
    )


def _as_known(head: str, entities: Collection[str]) -> str:
    """A name as it is known, with its full stop and its apostrophes; of an unknown one without a full stop."""
    plain = head.removesuffix(".").rstrip()
    bare = re.sub("^the ", "", plain, flags=re.IGNORECASE)
    marks = (("'", "'"), ("'", "\u2019"), ("\u2019", "'"))
    spelt = [name.translate({ord(a): b}) for name in (head, plain, bare) for a, b in marks]
    return next((name for name in spelt if name in entities), plain)


def answer(
    model: JointFactModel,
    question: tuple[str, str],
    inverses: Mapping[str, str],
    *,
    threshold: float = 0.1,
    candidates: int = 3,
) -> Answer:
    """Answer a question.

    Args:
        model: A trained one.
        question: Head and relation.
        inverses: Of the relations.
        threshold: Confidence below which the head counts as unknown, see `familiarity_threshold`.
        candidates: Number of answers that are told.

    Raises:
        ValueError: If the model knows no such relation.
    """
    head, relation = question
    chances, confidences = _asked(model, [question], inverses)
    best = chances[0].topk(min(candidates, len(model.entities)))
    named = tuple((model.entities[i], float(p)) for p, i in zip(best.values, best.indices.tolist(), strict=True))
    return Answer(head, relation, named, float(confidences[0]), bool(confidences[0] >= threshold))


def confidence(
    model: JointFactModel, questions: Sequence[tuple[str, str]], inverses: Mapping[str, str]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The confidence of the answer to each question; heads need not be among the model's entities."""
    return _asked(model, questions, inverses)[1]


def some_facts(facts: Sequence[Fact], most: int) -> list[Fact]:
    """At most so many of them, drawn alike every time: every k-th may be of one relation."""
    drawn = random.Random(0).sample(range(len(facts)), min(most, len(facts)))
    return [facts[place] for place in sorted(drawn)]


def familiarity_threshold(model: JointFactModel, facts: Sequence[Fact], inverses: Mapping[str, str]) -> float:
    """The confidence at which as many strangers count as known as known heads count as unknown.

    Args:
        model: A trained one.
        facts: That it was told; at most 1000 of them are asked.
        inverses: Of the relations.

    Strangers are made of the words of known names, so that their words are no hint. A memory of fixed keys takes no
    strangers; none is asked, and everybody counts as known.
    """
    if model.config.recogniser.memory == "fixed keys":
        return 0.0
    facts = some_facts(facts, 1000)
    known = confidence(model, [(fact.head, fact.relation) for fact in facts], inverses)
    unknown = confidence(
        model,
        list(zip(strangers(model.entities, len(facts)), (fact.relation for fact in facts), strict=True)),
        inverses,
    )
    levels = np.unique(np.concatenate([known, unknown]))
    wrong = [abs(float((known < level).mean() - (unknown >= level).mean())) for level in levels]
    return float(levels[int(np.argmin(wrong))])


def strangers(names: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Names that are not in a list, made of its words: the first words of one, the last word of another.

    Example:
        >>> strangers(["Ada Lind", "Bo Ek"], 2) in (["Ada Ek", "Bo Lind"], ["Bo Lind", "Ada Ek"])
        True
    """
    random, taken = np.random.default_rng([seed, 3]), set(names)
    found: dict[str, None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            break
        one, other = (names[i].split() for i in random.integers(len(names), size=2))
        made = " ".join([*(one[:-1] or one), other[-1]])
        if made not in taken:
            found[made] = None
    while len(found) < count:  # too few words for so many
        found[f"stranger {len(found)}"] = None
    return list(found)


def area_under_curve(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Probability that a known one's score is above an unknown one's; ties count half.

    Example:
        >>> area_under_curve([0.9, 0.5], [0.5, 0.1])
        0.875
    """
    high, low = np.asarray(known, float)[:, None], np.asarray(unknown, float)
    return float((high > low).mean() + (high == low).mean() / 2)


def _asked(
    model: JointFactModel, questions: Sequence[tuple[str, str]], inverses: Mapping[str, str]
) -> tuple[torch.Tensor, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Probabilities of the model's entities, and confidences."""
    count = len(model.entities)
    entities = set(model.entities)
    fresh = [head for head, _ in questions if head not in entities]
    wide = model.extended(fresh) if fresh else model
    with torch.no_grad():
        asked = wide.rows([Fact(head, relation, head) for head, relation in questions])
        chances = wide.scores(asked)[:, :count].softmax(1)
        best, answers = chances.max(1)
        back = [
            Fact(model.entities[i], inverses[relation], head)
            for i, (head, relation) in zip(answers.tolist(), questions, strict=True)
        ]
        returned = wide.scores(wide.rows(back))
        # Other strangers are no candidates: each question is asked on its own.
        known = returned[:, :count].logsumexp(1)
        own = returned.gather(1, asked[:, :1])[:, 0]
        among = torch.where(asked[:, 0] < count, known, torch.logaddexp(known, own))
        return chances, (best * (own - among).exp()).double().numpy()
