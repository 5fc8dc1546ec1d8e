"""Forward chaining by writing: facts about unknown values go into the memory until it holds what follows from them.

(c, =, v) says that c and v are the same, so they get the same concept. First the predictor g learns the sums of the
core with stated values in the place of names, and concepts m_v of the values with it. After that it is left as it is,
and only the memory is written and read, in rounds. The first writes m_v as the concept of each core entity. In the
others, the sums in which one entity x is not settled yet are read, forwards and backwards, under every hypothesis::

    log p(v) = sum over sums (a, b, x)  log softmax_v (s g(c_a, c_b) . m_v)
             + sum over sums (x, b, e)  log softmax_w (s g(m_v, c_b) . m_w) at the value w of e;   (b, x, e) likewise

Where one hypothesis is sure, m_v is written as the concept of x, so that it can be read for its neighbours in the next
round: leaves from core entities, bridges from leaves, problems from bridges. At the end the problems are read.
What is written is the concept of a value, so errors do not add up over a chain. (Written by gradient, as single facts
are, a concept is too free: it satisfies its few sums without having their value. And learnt with names, the sums are
remembered one by one, as which of several equal entities a sum ends at has no reason.)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from domains.language.reversal.additions import AdditionConfig, write_concepts
from domains.language.reversal.arithmetic import EQUALS, ArithmeticTask
from domains.language.reversal.facts import Fact
from domains.language.reversal.model import JointFactModel, JointModelConfig
from domains.language.reversal.recognisers import RecogniserConfig
from domains.language.reversal.step import StepOfFacts
from separable.training import TrainingConfig, run_training


@dataclasses.dataclass(frozen=True)
class ChainingConfig:
    """How the core is learnt and the trees are written.

    Attributes:
        model: of the joint embedding; its memory has to take names that come later.
        training: on the core.
        writing: of a round, at least.
        epochs: times that a round goes through the concepts to be written, at least.
        rounds: at most.
        sure: probability from which a value counts as read.
    """

    model: JointModelConfig = dataclasses.field(
        default_factory=lambda: JointModelConfig(recogniser=RecogniserConfig(rows=8192), rotations=0.0)
    )
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=2000, batch=512, rate=3e-3, warm_up=50, weight_decay=1.0, decay_from=0.5, betas=(0.9, 0.99)
        )
    )
    writing: AdditionConfig = dataclasses.field(default_factory=lambda: AdditionConfig(steps=150, batch=1024))
    epochs: int = 20
    rounds: int = 8
    sure: float = 0.5

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.rounds < 1:
            raise ValueError(f"epochs, rounds: expected at least 1, got {self.epochs} and {self.rounds}")
        if not 0 < self.sure < 1:
            raise ValueError(f"sure: expected a share, got {self.sure}")


@dataclasses.dataclass(frozen=True)
class Chained:
    """What came out.

    Attributes:
        right: problems whose value was found.
        problems: their number.
        core_accuracy: share of core entities whose value is read rightly before the trees are written.
        answers: name of the value that was read, a problem each.
        settled: number of entities that were settled, a round each.
        learning_seconds: of processor time for the core.
        writing_seconds: of processor time for the trees.
        parameters: number of trainable numbers.
    """

    right: int
    problems: int
    core_accuracy: float
    answers: tuple[str, ...]
    settled: tuple[int, ...]
    learning_seconds: float
    writing_seconds: float
    parameters: int


def learn_core(task: ArithmeticTask, config: ChainingConfig, *, progress: bool = True) -> JointFactModel:
    """A model that knows the core, and nothing of the problems."""
    values = {fact.head: fact.tail for fact in task.core if fact.relation == EQUALS}
    sums = [Fact(*(values[name] for name in fact)) for fact in task.core if fact.relation != EQUALS]
    generator = torch.Generator().manual_seed(config.training.seed)
    model = config.model.build(task.values, task.values, generator)
    rows = model.rows(list(dict.fromkeys(sums)))
    stream = StepOfFacts(rows, config.training.seed)
    run_training(
        model, lambda trained, batch: trained.loss(*batch), stream, config.training, unit="facts", progress=progress
    )
    model = model.extended(list(values))
    number = {value: place for place, value in enumerate(task.values)}
    _write(model, {name: number[value] for name, value in values.items()}, _concepts(model, task), config)
    return model


def read_values(model: JointFactModel, task: ArithmeticTask, entities: Sequence[str]) -> list[tuple[str, float]]:
    """For each entity the value whose concept is nearest to its own, and its probability among all values."""
    rows = model.rows([Fact(name, task.values[0], name) for name in entities])[:, 0]
    concepts = _concepts(model, task)
    with torch.no_grad():
        own = model.joint.concepts(model.addresses[rows])
        found = (model.joint.norm.scale * own @ concepts.T).softmax(1).max(1)
    return [
        (task.values[place], chance)
        for chance, place in zip(found.values.tolist(), found.indices.tolist(), strict=True)
    ]


def chain(task: ArithmeticTask, config: ChainingConfig | None = None, *, progress: bool = True) -> Chained:
    """Learn the core, write the trees in rounds, read the problems' values."""
    config = config or ChainingConfig()
    started = time.process_time()
    model = learn_core(task, config, progress=progress)
    learnt = time.process_time()
    stated = [fact for fact in task.core if fact.relation == EQUALS]
    found = read_values(model, task, [fact.head for fact in stated])
    core_accuracy = sum(fact.tail == value for fact, (value, _) in zip(stated, found, strict=True)) / len(stated)
    begun = time.process_time()
    model, settled = write_trees(model, task, config, progress=progress)
    answers = [value for value, _ in read_values(model, task, [fact.head for fact in task.answers])]
    return Chained(
        right=sum(fact.tail == value for fact, value in zip(task.answers, answers, strict=True)),
        problems=len(task.answers),
        core_accuracy=core_accuracy,
        answers=tuple(answers),
        settled=settled,
        learning_seconds=learnt - started,
        writing_seconds=time.process_time() - begun,
        parameters=model.n_parameters,
    )


def write_trees(
    model: JointFactModel, task: ArithmeticTask, config: ChainingConfig, *, progress: bool = True
) -> tuple[JointFactModel, tuple[int, ...]]:
    """Settle what follows from the sums round the problems: the model, written in place, and how many in each round."""
    sums = [fact for tree in task.trees for fact in tree]
    names = [name for fact in sums for name in fact]
    model = model.extended([*names, *(fact.head for fact in task.answers)], names)
    number = {value: place for place, value in enumerate(task.values)}
    settled = {fact.head: number[fact.tail] for fact in task.core if fact.relation == EQUALS}
    concepts = _concepts(model, task)
    counts = []
    for _ in tqdm(range(config.rounds), disable=not progress, desc="rounds"):
        unknown = {fact: [name for name in fact if name not in settled] for fact in sums}
        open_ = {fact: left[0] for fact, left in unknown.items() if len(left) == 1}
        if not open_:
            break
        read = _read_sums(model, open_, settled, concepts)
        chances = {name: evidence.softmax(0).max(0) for name, evidence in read.items()}
        sure = {name: int(best.indices) for name, best in chances.items() if float(best.values) >= config.sure}
        counts.append(len(sure))
        if not sure:
            break
        _write(model, sure, concepts, config)
        settled |= sure
    return model, tuple(counts)


def _concepts(model: JointFactModel, task: ArithmeticTask) -> Tensor:
    """Concepts m ``(P, width)`` of the values."""
    rows = model.rows([Fact(value, value, value) for value in task.values])[:, 0]
    with torch.no_grad():
        return model.joint.concepts(model.addresses[rows])


def _write(model: JointFactModel, values: Mapping[str, int], concepts: Tensor, config: ChainingConfig) -> None:
    """Write the concepts of values as those of names."""
    epochs = -(-config.epochs * len(values) // (config.writing.batch // 2))
    writing = dataclasses.replace(config.writing, steps=max(config.writing.steps, epochs))
    write_concepts(model, list(values), concepts[list(values.values())], writing)


def _read_sums(
    model: JointFactModel, open_: Mapping[Fact, str], settled: Mapping[str, int], values: Tensor
) -> dict[str, Tensor]:
    """Of each unknown entity the evidence ``(P,)`` for every value, summed over its sums."""
    found: dict[str, Tensor] = {}
    backwards: dict[tuple[int, str], list[Fact]] = {}
    joint, scale = model.joint, model.joint.norm.scale

    def add(name: str, evidence: Tensor) -> None:
        found[name] = found[name] + evidence if name in found else evidence

    with torch.no_grad():
        concepts = joint.concepts(model.addresses)
        forwards = [fact for fact, name in open_.items() if fact.tail == name]
        for part in _parts(forwards):
            context = concepts[model.rows([fact._replace(tail=fact.head) for fact in part])[:, :2]]
            evidence = (scale * joint.predict(context) @ values.T).log_softmax(1)
            for fact, line in zip(part, evidence, strict=True):
                add(fact.tail, line)
        for fact, name in open_.items():
            if fact.tail != name:
                place = fact.index(name)
                backwards.setdefault((place, fact[1 - place]), []).append(fact)
        for (place, step), facts in backwards.items():
            # All hypotheses about one entity beside this step, and where each leads: (P, P).
            known = concepts[model.rows([Fact(step, step, step)])[0, 0]].expand_as(values)
            pair = (values, known) if place == 0 else (known, values)
            leads = (scale * joint.predict(torch.stack(pair, 1)) @ values.T).log_softmax(1)
            for fact in facts:
                add(fact[place], leads[:, settled[fact.tail]])
    return found


def _parts(facts: Sequence[Fact], size: int = 1024) -> list[Sequence[Fact]]:
    return [facts[start : start + size] for start in range(0, len(facts), size)]
