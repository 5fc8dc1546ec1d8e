"""The verbs of `separable language reversal`, plain functions: generate, train, evaluate, ask, add."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import tyro

from domains.language.digests import digest_of_file
from domains.language.reversal.additions import AdditionConfig, add_facts
from domains.language.reversal.answers import Answer, answer, familiarity_threshold, parse_question
from domains.language.reversal.evaluate import pairs_only_of, ranking
from domains.language.reversal.facts import Fact, both_ways, check_facts, reverse
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointFactModel
from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import ReversalConfig, load, save
from domains.language.reversal.train import train as train_model
from separable.files import checked_text, read_json, refusing
from separable.training import RunFolder

_CONFIG, _FACTS, _ADDITION = ReversalConfig(), ReversibleFactsConfig(naming="natural"), AdditionConfig()
MODEL, TOLD, THRESHOLD = "model", "facts.jsonl", "threshold.json"
Inverses = tuple[tuple[str, str], ...]


def generate(
    out: Path = Path("runs/facts.jsonl"), /, config: tyro.conf.OmitArgPrefixes[ReversibleFactsConfig] = _FACTS
) -> Path:
    """Make facts with people's names, to see what a list of your own looks like.

    Args:
        out: the file to write, .jsonl or .h5.
        config: sizes and names.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = reversible_facts(config)
    facts.save(out)
    print(f"{out}: {len(facts.train)} facts to train on, {len(facts.test)} to ask, {len(facts.entities)} names")
    return out


def train(
    facts: Path,
    /,
    run: Path = Path("runs/reversal"),
    inverses: Inverses = (),
    config: ReversalConfig = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Train a model on facts; a run that was cut off goes on exactly.

    Args:
        facts: a .csv, .jsonl or .h5 file, see `separable language reversal generate`.
        run: the run folder: settings, record, checkpoints, report, the facts, the model.
        inverses: pairs of a relation and its inverse, where the file does not say.
        config: of model and training.
        device: where to train, such as cuda.
    """
    told = read_facts(facts, dict(inverses))
    settings = json.loads(json.dumps({"facts": facts.name, "count": len(told.train), **dataclasses.asdict(config)}))
    folder = RunFolder(run, settings, config.training.seed, {"facts": digest_of_file(facts)})
    kept = run / TOLD
    if kept.exists() and set(read_facts(kept, both_ways(told.inverses)).train) - set(told.train):
        raise FileExistsError(f"{run}: holds a model that was told more facts since; choose another folder")
    model, result = train_model(told, config.model, config.training, run=folder, device=device)
    assert isinstance(model, JointFactModel)
    model = model.to("cpu")
    told.save(run / TOLD)
    save(model, run / MODEL, dict(told.inverses))
    threshold = familiarity_threshold(model, told.train, told.inverses)
    folder.write(THRESHOLD, checked_text({"threshold": threshold}))
    scores = ", ".join(f"{name} {value:.4f}" for name, value in result.scores.items())
    print(f"{run}: {model.n_parameters:,} parameters, {result.seconds:.0f} s, {scores or f'loss {result.loss:.4f}'}")
    return run


def evaluate(run: Path = Path("runs/reversal"), /, facts: Path | None = None, inverses: Inverses = ()) -> None:
    """Rank the true answers of facts among all entities.

    Args:
        run: a run folder of `train`.
        facts: whose test facts, or else whose facts, are asked; by default those of the run.
        inverses: as of `train`.
    """
    model, known = load(run / MODEL)
    parts = questions_of(run, facts, {**known, **dict(inverses)})
    told = read_facts(run / TOLD, known).train
    for name, part in parts.items():
        found = ranking(model, part)
        pairs = pairs_only_of(part, told)
        print(f"{name:12} {found.questions:7} questions, mrr {found.mrr:.4f}, accuracy {found.accuracy:.4f}")
        print(f"  who knows pairs without relations: mrr {pairs.mrr:.4f}, accuracy {pairs.accuracy:.4f}")


def questions_of(run: Path, facts: Path | None, inverses: Mapping[str, str]) -> dict[str, tuple[Fact, ...]]:
    """Facts that `evaluate` asks for, in parts with names."""
    asked = read_facts(facts or run / TOLD, inverses)
    return {"reversed": asked.test, "told one way": asked.one_way} if asked.test else {"all": asked.train}


def ask(question: str, /, run: Path = Path("runs/reversal")) -> Answer:
    """Ask a model.

    Args:
        question: such as "who is Ada Lind's wife?", "who is the wife of Ada Lind?" or "Ada Lind, wife".
        run: a run folder of `train`.
    """
    model, inverses = load(run / MODEL)
    with refusing(run / THRESHOLD, "the familiarity below which a name is unknown"):
        threshold = float(read_json(run / THRESHOLD)["threshold"])
    found = answer(model, parse_question(question, model.relations, model.entities), inverses, threshold=threshold)
    print(found)
    for name, chance in found.candidates if found.known else ():
        print(f"  {chance:6.1%}  {name}")
    return found


def add(
    fact: tuple[str, str, str],
    /,
    run: Path = Path("runs/reversal"),
    config: tyro.conf.OmitArgPrefixes[AdditionConfig] = _ADDITION,
) -> Path:
    """Tell a trained model one more fact, in seconds.

    Args:
        fact: head, relation and tail, for example "Ada Lind" wife "Bo Ek"; names may be new, the relation is known.
        run: a run folder of `train`.
        config: how the fact is written.
    """
    model, inverses = load(run / MODEL)
    told = read_facts(run / TOLD, both_ways(inverses))
    new = Fact(*(" ".join(part.split()) for part in fact))
    places = [(f"fact {i} of the run", old, "train") for i, old in enumerate((*told.train, *told.test), 1)]
    check_facts([*places, ("the new fact", new, "train")], told.inverses)
    model = add_facts(model, told.train, [new], config, progress=True)
    # The list last: a fact in it cannot be told again; where this is cut off, one that only the model knows can.
    save(model, run / MODEL, inverses)
    dataclasses.replace(told, train=(*told.train, new)).save(run / TOLD)
    turned = reverse(new, told.inverses)
    found = answer(model, (turned.head, turned.relation), inverses)
    print(f"{turned.head}, {turned.relation}: {found.candidates[0][0]} (confidence {found.confidence:.2f})")
    return run


VERBS = {"generate": generate, "train": train, "evaluate": evaluate, "ask": ask, "add": add}
