"""Item 5: a user's own facts with natural names: trained in minutes, asked in both directions, strangers, additions.

``python -m benchmarks.reversal_own_facts`` writes a CSV of some thousand facts on made-up names of people, reads it as
a user's, trains ours, and measures: accuracy in both directions, whether strangers made of the same words are
recognised, and what adding 50 facts takes and changes. Results are kept in ``runs/benchmarks/reversal``.
"""

import csv
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.reversal_cells import FOLDER, OURS, SEEDS
from benchmarks.trial import usual
from domains.language.reversal.additions import AdditionConfig, add_facts
from domains.language.reversal.answers import area_under_curve, confidence, strangers
from domains.language.reversal.evaluate import ranking
from domains.language.reversal.facts import Fact, FactSet
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointFactModel
from domains.language.reversal.natural_names import natural_names
from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import ReversalConfig, train
from separable.training import TrainingConfig

BOTH_WAYS, ONE_WAY = usual((2000, 1200), trial=(100, 60))  # entities
FACTS = ReversibleFactsConfig(BOTH_WAYS, ONE_WAY, pairs=2, naming="natural")
MODEL = dataclasses.replace(OURS, recogniser=dataclasses.replace(OURS.recogniser, rows=1024))
TRAINING = usual(ReversalConfig().training, trial=TrainingConfig(steps=5, batch=64))
ADDITION = usual(AdditionConfig(), trial=AdditionConfig(steps=5))
ADDED = 50


def measured(seed: int) -> dict[str, Any]:
    """The kept result, or what is computed now."""
    settings = [dataclasses.asdict(config) for config in (FACTS, MODEL, TRAINING, ADDITION)]
    path = kept_path(FOLDER, json.dumps(["own facts", settings, seed]))
    return kept(path, lambda: _measured(seed, path.with_suffix(".csv")))


def _measured(seed: int, path: Path) -> dict[str, Any]:
    made = reversible_facts(dataclasses.replace(FACTS, seed=seed))
    _write_csv(path, made)
    facts = read_facts(path)
    started, clock = time.process_time(), time.perf_counter()
    training = dataclasses.replace(TRAINING, seed=seed, evaluate_every=10**9)
    model, _ = train(dataclasses.replace(facts, test=()), MODEL, training, progress=False)
    assert isinstance(model, JointFactModel)
    seconds, wall = time.process_time() - started, time.perf_counter() - clock
    known = confidence(model, [(fact.head, fact.relation) for fact in facts.test], facts.inverses)
    made_up = strangers(facts.entities, len(facts.test), seed)
    unknown = confidence(model, list(zip(made_up, (fact.relation for fact in facts.test), strict=True)), facts.inverses)
    result = {
        "facts": len(facts.train),
        "names": len(facts.entities),
        "parameters": model.n_parameters,
        "seconds": seconds,
        "wall": wall,
        "reversed": ranking(model, facts.test).accuracy,
        "told": ranking(model, facts.one_way).accuracy,
        "strangers": area_under_curve(known, unknown),
    }
    fresh = [name for name in natural_names(4 * ADDED, seed + 1000) if name not in set(facts.entities)]
    relation = facts.relations[0]
    new = [Fact(one, relation, other) for one, other in zip(fresh[:ADDED], fresh[ADDED : 2 * ADDED], strict=True)]
    started = time.process_time()
    wide = add_facts(model, facts.train, new, ADDITION)
    return {
        **result,
        "adding": time.process_time() - started,
        "added, told": ranking(wide, new).accuracy,
        "added, reversed": ranking(wide, [facts.reverse(fact) for fact in new]).accuracy,
        "reversed afterwards": ranking(wide, facts.test).accuracy,
    }


def _write_csv(path: Path, facts: FactSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["head", "relation", "tail", "inverse", "part"])
        for part, told in (("train", facts.train), ("test", facts.test)):
            writer.writerows([*fact, facts.inverses[fact.relation], part] for fact in told)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(2)
    results = [measured(seed) for seed in SEEDS]

    def told(name: str) -> str:
        values = [result[name] for result in results]
        return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    least = {name: min(result[name] for result in results) for name in ("reversed", "strangers", "added, reversed")}
    minutes = max(result["wall"] for result in results) / 60
    record.write(
        "reversal",
        "5",
        claim=f"{results[0]['facts']:,} facts on {results[0]['names']:,} natural names are learnt in {minutes:.1f} "
        f"minutes on two cores; reversed questions have an accuracy of at least {least['reversed']:.3f}, strangers an "
        f"area under the curve of {least['strangers']:.3f}; {ADDED} facts are added in seconds",
        measured={
            "accuracy, reversed questions": told("reversed"),
            "accuracy, questions as told": told("told"),
            "area under the curve, strangers of the same words": told("strangers"),
            f"accuracy, reverse of {ADDED} added facts": told("added, reversed"),
            "accuracy, added facts as told": told("added, told"),
            "accuracy, reversed questions after the addition": told("reversed afterwards"),
            "parameters": results[0]["parameters"],
            "processor s, training": round(statistics.mean(result["seconds"] for result in results)),
            "processor s, addition": round(statistics.mean(result["adding"] for result in results), 1),
        },
        target="minutes on two cores; accuracy at least 0.9 on reversed questions; area under the curve at least 0.95; "
        "an addition without training from scratch",
        holds=least["reversed"] >= 0.9
        and least["strangers"] >= 0.95
        and least["added, reversed"] >= 0.9
        and minutes < 30,
        baselines={},
        command="python -m benchmarks.reversal_own_facts",
        seeds=SEEDS,
        spread=f"mean (least to greatest) of {len(SEEDS)} seeds of names, facts and start values",
    )


if __name__ == "__main__":
    main()
