"""Training of every model of facts: the same rows in the same order, and the same measures over the training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from domains.language.reversal.answers import some_facts
from domains.language.reversal.evaluate import ranking
from domains.language.reversal.facts import FactSet
from domains.language.reversal.model import FactModel, JointFactModel, JointModelConfig
from domains.language.reversal.step import StepOfFacts
from domains.language.reversal.transformer import TransformerModelConfig
from separable.atomic_files import write_together
from separable.files import checked_text, filled, read_json, read_tensors, refusing, stored_tensors
from separable.training import RunFolder, TrainingConfig, TrainingResult, run_training

ModelConfig = JointModelConfig | TransformerModelConfig


@dataclasses.dataclass(frozen=True)
class ReversalConfig:
    """A joint-embedding model of facts and its training.

    Attributes:
        model: what is trained.
        training: length, batches, rates and habits; a row is a fact.
    """

    model: JointModelConfig = dataclasses.field(default_factory=JointModelConfig)
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=2000, batch=512, rate=3e-3, warm_up=50, weight_decay=1.0, decay_from=0.5, betas=(0.9, 0.99)
        )
    )


def train(
    facts: FactSet,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    probes: int = 300,
    device: torch.device | str = "cpu",
) -> tuple[FactModel, TrainingResult]:
    """Train a model on the training facts; the last weights are kept, as the test facts are not to be chosen by.

    Args:
        facts: to train on and to test with.
        model: what is trained.
        training: length, batches, rates and habits.
        run: the folder that gets record, checkpoints and report; a training that was cut off goes on exactly.
        progress: whether to show a bar.
        probes: facts of each kind that an evaluation during the training asks, at most.
        device: where to train.

    Returns:
        The model in evaluation mode, on the device, and how the training ended. The scores are those of
        `separable.training.run_training`: error and mean reciprocal rank of test facts and of those trained one way.

    Example:
        >>> from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
        >>> facts = reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, multiplicity=3))
        >>> trained, result = train(facts, JointModelConfig(width=16), TrainingConfig(steps=3), progress=False)
        >>> result.steps, sorted(result.scores)
        (3, ['one_way_mrr', 'test_error', 'test_mrr'])
    """
    generator = torch.Generator().manual_seed(training.seed)
    made = model.build(facts.entities, facts.relations, generator)
    rows = made.rows(facts.train)
    asked = [made.rows(some_facts(part, probes)).to(device) for part in (facts.test, facts.one_way)]

    def evaluate(trained: FactModel) -> dict[str, float]:
        test, one_way = (ranking(trained, part) for part in asked)
        return {"test_error": 1 - test.accuracy, "test_mrr": test.mrr, "one_way_mrr": one_way.mrr}

    result = run_training(
        made,
        lambda trained, batch: trained.loss(*batch),
        StepOfFacts(rows, training.seed),
        training,
        run=run,
        evaluate=evaluate if facts.test else None,
        unit="facts",
        device=device,
        progress=progress,
    )
    return made, result


def save(model: JointFactModel, folder: Path, inverses: dict[str, str]) -> Path:
    """Write ``config.json`` (settings, names, inverses) and ``model.safetensors``; each replaces an older one whole."""
    described = {
        "kind": "JointFactModel",
        "model": dataclasses.asdict(model.config),
        "entities": model.entities,
        "relations": model.relations,
        "first": model.first,
        "inverses": inverses,
    }
    contents = {
        "model.safetensors": stored_tensors(model.state_dict()),
        "config.json": checked_text(described).encode(),
    }
    write_together(folder, contents)
    return folder


def load(folder: Path) -> tuple[JointFactModel, dict[str, str]]:
    """A model that `save` wrote, in evaluation mode, and the inverses of its relations.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: It holds another kind, or a file that is cut off or does not fit.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: expected a saved model of facts, but there is no {name}")
    expected = "a saved model of facts"
    described = read_json(folder / "config.json", expected)
    if described.get("kind") != "JointFactModel":
        raise ValueError(f"{folder}: expected a JointFactModel, got {described.get('kind')!r}")
    tensors = read_tensors(folder / "model.safetensors", expected)
    with refusing(folder, expected):
        entities, relations = (_names(described[kind]) for kind in ("entities", "relations"))
        inverses = dict(zip(_names(list(described["inverses"])), _names(described["inverses"].values()), strict=True))
        config = JointModelConfig.from_settings(described["model"])
        # Older files do not say it; of those only a memory of words with names that came later cannot be read.
        count, kinds = (int(number) for number in described.get("first", (len(entities), len(relations))))
    model = filled(folder, described["model"], lambda: config.build(entities[:count], relations[:kinds]), tensors)
    if (count, kinds) != (len(entities), len(relations)):
        model = model.extended(entities[count:], relations[kinds:])
    return model.eval(), inverses


def _names(found: Any) -> list[str]:
    names = list(found)
    if isinstance(found, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected a list of names, got {found!r}")
    return names
