"""A model that was told facts from one side is asked from the other, and about strangers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from domains.language.reversal.answers import (
    answer,
    confidence,
    familiarity_threshold,
    parse_question,
    strangers,
)
from domains.language.reversal.evaluate import pairs_only, ranking
from domains.language.reversal.facts import Fact, FactSet
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointFactModel, JointModelConfig
from domains.language.reversal.train import train
from separable.training import RunFolder, TrainingConfig

CONFIG = ReversibleFactsConfig(both_ways=400, one_way=200, naming="natural")
WORDS = {"relation0": "teacher", "inverse0": "pupil", "relation1": "landlord", "inverse1": "tenant"}


def facts_of_people(config: ReversibleFactsConfig = CONFIG) -> FactSet:
    """Made-up people and who teaches or houses whom; of a third of them one side alone is told.

    Example:
        >>> facts = facts_of_people(ReversibleFactsConfig(both_ways=20, one_way=10, naming="natural"))
        >>> facts.inverses["teacher"], len(facts.train), len(facts.test)
        ('pupil', 50, 10)
    """
    made = reversible_facts(config)
    told, asked = (
        tuple(Fact(fact.head, WORDS[fact.relation], fact.tail) for fact in part) for part in (made.train, made.test)
    )
    return FactSet(told, asked, {WORDS[relation]: WORDS[inverse] for relation, inverse in made.inverses.items()})


def demonstration(steps: int = 300) -> tuple[list[dict[str, str]], dict[str, float], Any]:
    """Train on facts, ask forward, backward and about somebody unknown.

    Args:
        steps: of the training.

    Returns:
        A row for each question; numbers by name; and a matplotlib Figure of the reversed questions over the training
        and of the confidence in answers about those who were told of and about strangers.
    """
    facts = facts_of_people()
    training = TrainingConfig(
        steps=steps,
        batch=256,
        rate=3e-3,
        warm_up=30,
        weight_decay=1.0,
        decay_from=0.5,
        betas=(0.9, 0.99),
        evaluate_every=max(1, steps // 10),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder), {"steps": steps}, training.seed)
        model, result = train(facts, JointModelConfig(), training, run=run, progress=False)
        looks = [line for line in run.metrics() if "scores" in line]
    assert isinstance(model, JointFactModel)
    threshold = familiarity_threshold(model, facts.train, facts.inverses)
    known = confidence(model, [(fact.head, fact.relation) for fact in facts.test], facts.inverses)
    unknown_names = strangers(model.entities, len(facts.test))
    unknown = confidence(model, [(name, "teacher") for name in unknown_names], facts.inverses)
    numbers = {
        "facts told": float(len(facts.train)),
        "names": float(len(facts.entities)),
        "parameters": float(model.n_parameters),
        "seconds to train": result.seconds,
        "reversed questions": float(len(facts.test)),
        "accuracy on reversed questions": ranking(model, facts.test).accuracy,
        "accuracy without relations": pairs_only(len(WORDS) // 2).accuracy,
        "reversed questions taken for unknown": float((known < threshold).mean()),
        "strangers taken for known": float((unknown >= threshold).mean()),
    }
    told = facts.one_way[0]
    asked = facts.reverse(told)
    questions = (
        ("told", f"who is {told.head}'s {told.relation}?", told.tail),
        ("never told, only its reverse", f"who is the {asked.relation} of {asked.head}?", asked.tail),
        ("a stranger with words of known names", f"who is {unknown_names[0]}'s teacher?", "nobody knows"),
    )
    rows = [
        {
            "question": question,
            "answer": str(
                answer(
                    model,
                    parse_question(question, model.relations, model.entities),
                    facts.inverses,
                    threshold=threshold,
                )
            ),
            "true": true,
            "what this is": kind,
        }
        for kind, question, true in questions
    ]
    return rows, numbers, _figure(looks, numbers["accuracy without relations"], known, unknown, threshold)


def _figure(
    looks: list[dict[str, Any]],
    without_relations: float,
    known: np.ndarray[Any, Any],
    unknown: np.ndarray[Any, Any],
    threshold: float,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([line["step"] for line in looks], [1 - line["scores"]["test_error"] for line in looks], "o-")
    left.axhline(without_relations, color="grey", linestyle=":")
    told = {"xy": (0.98, without_relations - 0.03), "xycoords": ("axes fraction", "data"), "ha": "right", "va": "top"}
    left.annotate("knowing who belongs together, not how", fontsize=8, color="grey", **told)
    left.set_ylim(0, 1.05)
    left.set_xlabel("step")
    left.set_title("Reversed questions answered rightly", fontsize=11)
    edges = np.linspace(0, 1, 41)
    right.hist(known, edges, alpha=0.7, label="people who were told of")
    right.hist(unknown, edges, alpha=0.7, label="strangers")
    right.axvline(threshold, color="black", linewidth=1, label="known from here on")
    right.set_xlabel("confidence")
    right.set_title("Confidence in answers", fontsize=11)
    right.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return figure
