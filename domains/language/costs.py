"""What the long verbs of `separable language` would cost, by the verb's name and arguments."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path

from domains.language.commands import tokens_of_model, window_of
from domains.language.compare import Spend
from domains.language.corpus import documents
from domains.language.distillation.commands import _number as in_units
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.pruned_model import load, model_folder
from domains.language.distillation.pruning import prune
from domains.language.distillation.students import sized, student_config
from domains.language.distillation.sweep import SweepConfig, cells
from domains.language.distillation.train import calibrated
from domains.language.distillation.train import distil as distil_model
from domains.language.evaluate import TOGETHER, side_by_side
from domains.language.evaluate import evaluate as evaluated
from domains.language.instruction.chat import read_conversations
from domains.language.instruction.tasks import instructions
from domains.language.instruction.train import InstructionConfig, tune
from domains.language.shards import TokenizeConfig
from domains.language.tokenisers import BytePairTokeniser, ByteTokeniser, Tokeniser, load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, untrained
from domains.language.train import train as train_model
from separable.records import Cost, cost_of_steps, cost_of_training, peak_memory

_TRIED = 500_000  # characters that are tokenised to see how long it takes


def tokenize(folder: Path, config: TokenizeConfig) -> Cost:
    """Of tokens: the first half million characters; the rest in proportion, and byte pairs likewise."""
    started, seen, texts = time.perf_counter(), 0, []
    everything, learnt, whole = documents(config.corpus), list[str](), True
    for document in everything:
        texts.append(document.text)
        learnt += [document.text] if document.part == "train" else []
        seen += len(document.text)
        if seen >= _TRIED:
            whole = False
            break
    read = time.perf_counter() - started
    started, tokeniser = time.perf_counter(), _tokeniser(config, learnt if whole else learnt or texts, whole)
    learned = time.perf_counter() - started
    started = time.perf_counter()
    tokeniser.encode_batch(texts)
    encoded = time.perf_counter() - started
    total = seen + sum(len(document.text) for document in everything)
    learning = min(config.training_text * 1e6, total) / max(seen, 1) * (learned + read) if learned > 0.001 else 0.0
    return Cost(
        f"measured: {seen:,} of {total:,} characters here",
        total / max(seen, 1) * (read + encoded) + learning,
        memory=peak_memory(),
        disk=2.0 * total / max(seen, 1) * sum(map(len, tokeniser.encode_batch(texts))),
        notes=("Byte pairs are learned faster than in proportion.",) if learning else (),
    )


def train(tokens: Path, run: Path, config: LanguageConfig, device: str) -> Cost:
    """Of a training: some of its steps, and one evaluation."""
    held = Tokens(tokens)
    return _of_training(held, config, device)


def evaluate(run: Path, tokens: Path, part: str, context: int | None, device: str) -> Cost:
    """Of an evaluation: some of its windows."""
    held, model = tokens_of_model(run, tokens), load(model_folder(run), device)
    context = window_of(run, context)
    windows = side_by_side(held.part(part), context)
    together = -(-TOGETHER // context)

    def trial(few: int) -> None:
        evaluated(model, held, part, context, windows[:few])

    told = cost_of_steps(
        trial,
        len(windows),
        few=together,
        more=4 * together,
        parameters=model.n_parameters,
        what="windows",
        device=device,
    )
    # Of each token the loss, the token, its rank and length, and the losses of a band, 8 bytes each.
    kept = 0 if device.startswith("cuda") else 5 * 8 * len(windows) * context
    return told if told.memory is None else dataclasses.replace(told, memory=told.memory + kept)


def compare_embeddings(
    tokens: Path,
    folder: Path,
    kinds: tuple[str, ...],
    seeds: int,
    spend: Spend,
    config: LanguageConfig,
    device: str,
) -> Cost:
    """Of all trainings: some steps of the first kind, as often as there are kinds and seeds."""
    embedding, _, head = (kinds or ("table",))[0].partition(" ")
    first = dataclasses.replace(config, embedding=embedding, head=head or config.head)
    told = _of_training(Tokens(tokens), first, device)
    count = len(kinds) * seeds
    note = f"{count} trainings, {kinds[0]!r} was measured; the others have as many parameters but other speeds"
    return dataclasses.replace(told, seconds=(told.seconds or 0) * count, notes=(*told.notes, note))


def distil(
    tokens: Path,
    teacher: Path,
    run: Path,
    sparsity: float | None,
    student: str | None,
    cache: Path | None,
    entries: int | None,
    drawn: bool,
    config: DistillationConfig,
    device: str,
) -> Cost:
    """Of a distillation: some of its steps by the teacher itself, and one evaluation."""
    held = Tokens(tokens)
    model = load(model_folder(teacher), device).eval()
    if student is None:
        learner = prune(model, calibrated(model, held, config), 0.6 if sparsity is None else sparsity)
    else:
        learner = untrained(held, student_config(student, model.config.vocabulary), config.training.seed)

    told = cost_of_training(
        lambda: distil_model(learner, model, held, config, progress=False, device=device), device=device
    )
    notes = told.notes
    if cache is not None:
        notes += ("With kept distributions a step is cheaper; once they are computed over the training text.",)
    if config.adapt_steps:
        notes += (f"Adapting the teacher, {config.adapt_steps} steps before it, is not in the time.",)
    return dataclasses.replace(told, notes=notes)


def capacity_gap(
    tokens: Path,
    folder: Path,
    students: tuple[str, ...],
    teachers: tuple[str, ...],
    arms: tuple[str, ...],
    seeds: int,
    part: str,
    patience: float,
    wait: bool,
    config: LanguageConfig,
    lesson: DistillationConfig,
    device: str,
) -> Cost:
    """Of all cells: some steps of the smallest student and of the largest teacher, a line through both for the others.

    A student's step takes its own time and a third of its teacher's, which only goes forward.
    """
    small, large = (tuple(round(in_units("students, teachers", n)) for n in each) for each in (students, teachers))
    asked, held = SweepConfig(small, large, arms, seeds, part, patience, config, lesson), Tokens(tokens)
    ends = []
    for size in (min(small), max(large)):
        told = _of_training(held, sized(config, held.vocabulary, size), device)
        ends.append((told.parameters or 0, (told.seconds or 0) / config.training.steps))
    (less, quick), (more, slow) = ends
    slope = max(0.0, (slow - quick) / max(more - less, 1))

    def step(size: int) -> float:
        return quick + slope * max(0, size - less)

    everything, seconds = cells(asked), 0.0
    larger = lesson.training.batch / config.training.batch  # a student's steps, to those that were tried
    for cell in everything:
        if cell.student:
            seconds += larger * lesson.training.steps * (step(cell.student) + step(cell.teacher) / 3)
        else:
            seconds += config.training.steps * step(cell.teacher)
    return Cost(
        f"measured: steps of models of {less:,} and {more:,} parameters here, {1000 * quick:.3g} and "
        f"{1000 * slow:.3g} ms each, evaluations in proportion; a line through them for the others",
        seconds,
        more,
        peak_memory(device),
        notes=(f"{len(everything)} cells; several processes on the folder divide them.",),
    )


def instruct(
    model: Path,
    run: Path,
    source: Path | None,
    count: int,
    asked: int,
    config: InstructionConfig,
    device: str,
) -> Cost:
    """Of a training on answers: some of its steps."""
    folder = model_folder(model)
    tokeniser, tuned = load_tokeniser(folder), load(folder, device)
    if source is None:
        drawn = itertools.islice(instructions(count, config.training.seed), 2000)
        learnt = [each.conversation for each in drawn if not each.held_out]
    else:
        learnt = read_conversations(source)[:2000]

    told = cost_of_training(
        lambda: tune(tuned, tokeniser, learnt, (), config, progress=False, device=device), device=device
    )
    return dataclasses.replace(told, notes=(*told.notes, "Evaluations and the answers at the end come on top."))


def _of_training(held: Tokens, config: LanguageConfig, device: str) -> Cost:
    return cost_of_training(lambda: train_model(held, config, progress=False, device=device), device=device)


def _tokeniser(config: TokenizeConfig, texts: list[str], whole: bool) -> Tokeniser:
    if config.vocabulary == ByteTokeniser.vocabulary:
        return ByteTokeniser()
    try:
        return BytePairTokeniser.trained(texts, config.vocabulary)
    except ValueError:
        if whole:
            raise  # as the tokens themselves will be refused
        # So little text has fewer pairs.
        return BytePairTokeniser.trained(texts, 300)
