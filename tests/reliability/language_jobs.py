"""The long jobs of language in small: tokens, stored logits, and the trainings of models, students and comparisons."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from domains.language.compare import compare
from domains.language.corpus import CorpusConfig
from domains.language.distillation.commands import distil
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.logits_cache import LogitsCacheConfig, write_logits
from domains.language.distillation.sweep import ARMS, SweepConfig, sweep
from domains.language.instruction.tasks import instructions
from domains.language.instruction.train import InstructionConfig, tune
from domains.language.reversal import train as reversal
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from domains.language.train import train as train_language
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import RunFolder, TrainingConfig
from tests.reliability.job import Job, loop_done, step_of, tensors_of, trained

SMALL = TransformerConfig(width=16, layers=1, heads=2)
SHORT = TrainingConfig(steps=40, batch=4, evaluate_every=10, checkpoint_every=5)
LESSON = DistillationConfig(context=16, validation_windows=4, calibration=2, training=SHORT)
SWEEP = SweepConfig(
    (9_120,),
    (12_000, 20_000),
    ARMS,
    seeds=1,
    patience=0.2,
    teacher=LanguageConfig(SMALL, "table", "table:tied=true", 16, 4, dataclasses.replace(SHORT, steps=20)),
    student=dataclasses.replace(LESSON, training=dataclasses.replace(SHORT, steps=10)),
)


def run_reversal(folder: Path) -> None:
    facts = reversible_facts(ReversibleFactsConfig(both_ways=40, one_way=20, multiplicity=3))
    config = TrainingConfig(steps=60, batch=16, evaluate_every=10, checkpoint_every=5)
    run = RunFolder(folder / "run", config, 0)
    reversal.train(facts, JointModelConfig(width=16), config, run=run, progress=False)


def write_texts(folder: Path) -> None:
    (folder / "text").mkdir()
    for number in range(120):
        text = f"document {number}: " + f"{number} ü 漢 " * (5 + number % 30)
        (folder / "text" / f"{number:03d}.txt").write_text(text, encoding="utf-8")


def tokenize(folder: Path, test: float = 0.0) -> Path:
    corpus = CorpusConfig(str(folder / "text"), validation=0.1, test=test)
    return write_tokens(folder / "tokens", TokenizeConfig(corpus, shard=200), progress=False)


def tokens_left(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "tokens").glob("*.bin")}


def documents_done(folder: Path) -> int:
    if (folder / "tokens" / "index.json").exists():
        return 10**6
    journal = folder / "tokens" / "writing.json"
    return json.loads(journal.read_text())["done"] if journal.exists() else 0


def run_language(folder: Path) -> None:
    config = LanguageConfig(transformer=SMALL, context=16, training=SHORT)
    run = RunFolder(folder / "run", {"seed": 0}, 0)
    train_language(Tokens(folder / "tokens"), config, run=run, progress=False)


def prepare_tokens(folder: Path, test: float = 0.0) -> None:
    write_texts(folder)
    tokenize(folder, test)


def untrained() -> LanguageModel:
    return LanguageModel(LanguageModelConfig(257, SMALL), torch.Generator().manual_seed(0)).eval()


def write_cache(folder: Path) -> None:
    config = LogitsCacheConfig(entries=4, context=16, shard=20)
    write_logits(folder / "logits", untrained(), Tokens(folder / "tokens"), config)


def logits_left(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "logits").iterdir() if file.name[0] != "."}


def logits_done(folder: Path) -> int:
    index = folder / "logits" / "index.json"
    return len(json.loads(index.read_text())["shards"]) if index.exists() else 0


def prepare_teacher(folder: Path) -> None:
    prepare_tokens(folder)
    untrained().save(folder / "teacher")
    shutil.copyfile(folder / "tokens" / "tokenizer.json", folder / "teacher" / "tokenizer.json")


def run_student(folder: Path, cache: Path | None = None, **changes: Any) -> None:
    """All stages: the teacher's adaptation, what the student is pruned by, what is stored, the distillation."""
    config = dataclasses.replace(LESSON, adapt_steps=20, adapt_rate=1e-3, **changes)
    distil(folder / "tokens", folder / "teacher", folder / "run", cache=cache, config=config)


def models_left(folder: Path) -> dict[str, bytes]:
    """Every finished model in a run."""
    files = (folder / "run").rglob("model/*.safetensors")
    return {f"{file} {name}": value for file in files for name, value in tensors_of(file).items()}


def steps_done(folder: Path) -> int:
    """Steps of all trainings in a run, and what is stored beside it."""
    files = (file for file in (folder / "run").rglob("last.safetensors") if file.parent.name[0] != ".")  # no halves
    return sum(map(step_of, files)) + logits_done(folder)


def run_sweep(folder: Path) -> None:
    rows = sweep(Tokens(folder / "tokens"), folder / "run", SWEEP, progress=False)
    write_rows(folder, rows)


def run_comparison(folder: Path) -> None:
    config = LanguageConfig(SMALL, context=16, validation_windows=4, training=SHORT)
    kinds = ("table table:tied=false", "low_rank:rank=4 table:tied=true")
    write_rows(folder, compare(Tokens(folder / "tokens"), folder / "run", config, kinds, progress=False))


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Keep what was measured, but for what depends on the clock."""
    timed = ("minutes", "tokens_per_second")
    kept = [{name: value for name, value in row.items() if name not in timed} for row in rows]
    (folder / "rows.json").write_text(json.dumps(kept))


def rows_left(folder: Path) -> dict[str, bytes]:
    return {"rows": (folder / "rows.json").read_bytes(), **models_left(folder)}


def run_instructions(folder: Path) -> None:
    config = InstructionConfig(measured=8, training=SHORT)
    learnt = [each.conversation for each in instructions(60)]
    tokeniser = Tokens(folder / "tokens").tokeniser
    run = RunFolder(folder / "run", config, 0)
    tune(untrained(), tokeniser, learnt[8:], learnt[:8], config, run=run, progress=False)


JOBS = [
    Job("model of facts", run_reversal, trained, loop_done),
    Job("tokens", tokenize, tokens_left, documents_done, write_texts),
    Job("language model", run_language, trained, loop_done, prepare_tokens),
    Job("stored logits", write_cache, logits_left, logits_done, prepare_tokens),
    Job(
        "student",
        lambda folder: run_student(folder, divergence="taid", hidden=0.5),
        models_left,
        steps_done,
        prepare_teacher,
    ),
    Job(
        "student of stored logits",
        lambda folder: run_student(folder, cache=folder / "logits"),
        models_left,
        steps_done,
        prepare_teacher,
    ),
    Job("capacity gap", run_sweep, rows_left, steps_done, lambda folder: prepare_tokens(folder, test=0.1)),
    Job("compared embeddings", run_comparison, rows_left, steps_done, prepare_tokens),
    Job("instructed model", run_instructions, models_left, steps_done, prepare_tokens),
]
