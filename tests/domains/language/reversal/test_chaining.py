"""Values are found by writing facts into the memory and reading it, and without the facts they are not."""

import dataclasses

import pytest

from domains.language.reversal.additions import AdditionConfig
from domains.language.reversal.arithmetic import EQUALS, ArithmeticConfig, arithmetic_task
from domains.language.reversal.chaining import ChainingConfig, learn_core, read_values, write_trees
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.recognisers import RecogniserConfig

CONFIG = ChainingConfig(
    model=JointModelConfig(recogniser=RecogniserConfig(rows=256), width=32),
    writing=AdditionConfig(steps=100, batch=256),
)
CONFIG = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, steps=300, batch=256, rate=5e-3))


def test_values_follow_from_what_is_written_and_from_nothing_else():
    task = arithmetic_task(
        ArithmeticConfig(modulus=23, copies=4, steps=(3, 9), branching=3, problems=6, values=(0, 22), told=0.6)
    )
    model = learn_core(task, CONFIG, progress=False)
    stated = [fact for fact in task.core if fact.relation == EQUALS]
    read = read_values(model, task, [fact.head for fact in stated])
    assert sum(fact.tail == value for fact, (value, _) in zip(stated, read, strict=True)) >= 0.95 * len(stated)
    predictor = [p.clone() for p in model.joint.predictor.parameters()]
    names, right = [fact.head for fact in task.answers], [fact.tail for fact in task.answers]
    before = [value for value, _ in read_values(model.extended(names), task, names)]
    model, settled = write_trees(model, task, CONFIG, progress=False)
    after = [value for value, _ in read_values(model, task, names)]
    assert sum(a == b for a, b in zip(before, right, strict=True)) <= 2
    assert sum(a == b for a, b in zip(after, right, strict=True)) >= 5
    assert len(settled) >= 3  # leaves, bridges, problems
    assert all((a == b).all() for a, b in zip(predictor, model.joint.predictor.parameters(), strict=True))


def test_wrong_settings_are_refused():
    for wrong in ({"epochs": 0}, {"rounds": 0}, {"sure": 1.0}):
        with pytest.raises(ValueError):
            ChainingConfig(**wrong)
