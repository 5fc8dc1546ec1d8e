"""How well questions are answered among all entities, and how much the concepts of different names hang together.

For each question the rank of the true tail among E entities gives the mean reciprocal rank and the accuracy (rank 1).
Ties count against the model. Who only knows which entities belong together, and not by which of n relations, has
accuracy 1 / n and mean reciprocal rank ``H_n / n``: `pairs_only`, and `pairs_only_of` where n differs. Only what is
above that is a reversal of the relation.

Entanglement: a step down the gradient of some function of one name's concept c moves it by |dc|, and that of another
name by |dc'|; the mean of |dc'| / |dc| is 0 for concepts that are held apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.language.reversal.facts import Fact
from domains.language.reversal.model import FactModel, JointFactModel


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Answers to some questions.

    Attributes:
        mrr: mean reciprocal rank of the true answers among all entities.
        accuracy: share of questions whose true answer comes first; for names of several words that is exact match.
        questions: their number.
    """

    mrr: float
    accuracy: float
    questions: int


def ranking(model: FactModel, facts: Sequence[Fact] | Tensor, chunk: int = 256) -> Ranking:
    """Ask for the tails of facts.

    Args:
        model: That answers.
        facts: The true ones, or their rows ``(n, 3)``.
        chunk: Questions at a time.

    Raises:
        ValueError: There are no questions.
    """
    rows = facts if isinstance(facts, Tensor) else model.rows(facts)
    if not len(rows):
        raise ValueError("facts: expected questions to ask, got none")
    ranks = []
    with torch.no_grad():
        for part in rows.split(chunk):
            scores = model.scores(part)
            right = scores.gather(1, part[:, 2:])
            ranks.append((~(scores < right)).sum(1))  # the true answer is one of them; NaN counts against the model
    found = torch.cat(ranks).double()
    return Ranking(float((1 / found).mean()), float((found == 1).double().mean()), len(found))


def pairs_only(relations: int) -> Ranking:
    """What knowing pairs without relations scores: with n pairs of relations, a question has n candidates.

    Example:
        >>> pairs_only(2)
        Ranking(mrr=0.75, accuracy=0.5, questions=0)
    """
    if relations < 1:
        raise ValueError(f"relations: expected at least 1, got {relations}")
    return Ranking(sum(1 / k for k in range(1, relations + 1)) / relations, 1 / relations, 0)


def pairs_only_of(asked: Sequence[Fact], told: Sequence[Fact]) -> Ranking:
    """What knowing pairs without relations scores on facts: the candidates are all that are told or asked with a head.

    Example:
        >>> wife, boss = Fact("Ada", "wife", "Bo"), Fact("Ada", "boss", "Cy")
        >>> pairs_only_of([wife], [boss]), pairs_only_of([wife], [wife]).accuracy
        (Ranking(mrr=0.75, accuracy=0.5, questions=1), 1.0)
    """
    partners: dict[str, set[str]] = {}
    for fact in (*told, *asked):
        partners.setdefault(fact.head, set()).add(fact.tail)
        partners.setdefault(fact.tail, set()).add(fact.head)
    each = [pairs_only(len(partners[fact.head])) for fact in asked]
    return Ranking(sum(r.mrr for r in each) / len(each), sum(r.accuracy for r in each) / len(each), len(each))


@dataclasses.dataclass(frozen=True)
class Entanglement:
    """Mean movement of other names' concepts, in that of the updated name's.

    Attributes:
        sharing: of names that share a word with it.
        others: of names that share none.
    """

    sharing: float
    others: float


def entanglement(model: JointFactModel, names: int = 32, seed: int = 0, length: float = 1e-3) -> Entanglement:
    """Measure the entanglement of a model's concepts.

    Args:
        model: Whose recogniser is measured; it is left as it was.
        names: Number of names that are updated, one at a time.
        seed: Of the names and of the directions in which their concepts are moved.
        length: Of the step in the parameters, as a share of their length.

    Returns:
        Means over the updated names that have others of the kind; NaN where none of them has.
    """
    random = np.random.default_rng(seed)
    count = len(model.entities)
    addresses = model.addresses[:count]
    parameters = list(model.recogniser.parameters())
    size = torch.stack([p.detach().norm() for p in parameters]).norm()
    with torch.no_grad():
        before = model.joint.concepts(addresses)
    words = [set(name.split()) for name in model.entities]
    sharing, others = [], []
    for row in random.choice(count, min(names, count), replace=False).tolist():
        direction = torch.from_numpy(random.standard_normal(before.shape[1])).to(before)
        along = (model.joint.concepts(addresses[row : row + 1]) @ direction).sum()
        gradients = torch.autograd.grad(along, parameters, allow_unused=True)
        norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        step = length * size / norm
        kept = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter += step * gradient
            moved = (model.joint.concepts(addresses) - before).norm(dim=1)
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        relative = moved / moved[row]
        alike = torch.tensor([bool(words[row] & other) for other in words], device=moved.device)
        if not bool(alike.all()):
            others.append(relative[~alike].mean())
        alike[row] = False
        if bool(alike.any()):
            sharing.append(relative[alike].mean())
    mean = [float(torch.stack(part).mean()) if part else float("nan") for part in (sharing, others)]
    return Entanglement(*mean)
