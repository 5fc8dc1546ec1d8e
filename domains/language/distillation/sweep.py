"""Students of several sizes, each distilled from teachers of several sizes: a run folder a cell, shared by processes.

For students S_i, teachers T_j > S_i and seeds, the arms are

    pruned            S pruned from T and distilled from it, as published
    scratch           S from scratch, distilled from T on as many tokens
    scratch_compute   the same on as many tokens as cost what S with its smallest teacher costs
    alone             S from scratch by cross-entropy, on as many tokens as cost what S with T costs

A larger teacher's pruned student has lost more, so the first arm alone cannot tell a teacher that is too strong from a
start that is too poor; the second can. Cost counts 6 operations a number and token of the student, 2 of the teacher
that is read; a teacher's own training is told beside it.

Cells that are finished are never run again. Any number of processes may work on one folder, on one machine or on
several that share it: see `separable.training.claims`. A cell that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch

from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.logits_cache import belonging
from domains.language.distillation.pruned_model import load
from domains.language.distillation.students import multiplied, prune_to, sized
from domains.language.distillation.train import calibrated, distil
from domains.language.evaluate import evaluate, side_by_side
from domains.language.tokens import Tokens
from domains.language.train import MODEL, LanguageConfig, build, train
from separable.files import checked_text, read_checked_json
from separable.sequence import LanguageModel, TransformerConfig
from separable.training import RunFolder, TrainingConfig, TrainingResult, process_count
from separable.training.claims import claimed

ARMS = ("pruned", "scratch", "scratch_compute", "alone")
_TEACHER = "teacher"
_APART = 100  # between the seeds of a teacher's order of windows and its students'


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is tried, and how teachers and students are trained.

    Attributes:
        students: parameters of the students.
        teachers: parameters of the teachers.
        arms: of pruned, scratch, scratch_compute and alone.
        seeds: trainings of each cell, each with teachers of its own.
        part: that is measured: train, validation or test.
        patience: seconds after which a process that gives no sign of life has lost its cell.
        teacher: of all models but for their width: embedding, head, layers, features of a head; and of all training
            from scratch, for a number of steps.
        student: of the distillation, likewise. The seeds of both trainings have no effect: teachers of cell seed i are
            trained with i, students with i + 100.
    """

    students: tuple[int, ...]
    teachers: tuple[int, ...]
    arms: tuple[str, ...] = ARMS[:3]
    seeds: int = 3
    part: str = "test"
    patience: float = 120.0
    teacher: LanguageConfig = dataclasses.field(
        default_factory=lambda: LanguageConfig(
            TransformerConfig(width=64, layers=4, heads=4),
            "table",
            "table:tied=true",
            training=TrainingConfig(steps=4000, batch=16, rate=2e-3),
        )
    )
    student: DistillationConfig = dataclasses.field(
        default_factory=lambda: DistillationConfig(training=TrainingConfig(steps=2000, batch=16, rate=1e-3))
    )

    def __post_init__(self) -> None:
        for name in ("students", "teachers", "arms"):
            if not getattr(self, name) or len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: expected some, each once, got {getattr(self, name)}")
        if min(*self.students, *self.teachers, self.seeds) < 1:
            raise ValueError(
                "students, teachers, seeds: expected numbers above 0, "
                f"got {self.students}, {self.teachers}, {self.seeds}"
            )
        unknown = set(self.arms) - set(ARMS)
        if unknown:
            raise ValueError(f"arms: expected {', '.join(ARMS)}; got {', '.join(sorted(unknown))}")
        if not self.teacher.training.steps or not self.student.training.steps:
            raise ValueError("steps: expected a number of them for teachers and students, as tokens are to be equal")
        if self.teacher.context != self.student.context:
            raise ValueError(
                f"context: expected {self.teacher.context} for the students too, got {self.student.context}"
            )
        if self.student.adapt_steps:
            raise ValueError("adapt_steps: expected 0, as the teachers are trained on the same text")
        without = [student for student in self.students if student >= max(self.teachers)]
        if without:
            raise ValueError(f"students: expected a larger teacher for each, got none for {without[0]:,}")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training: a teacher, or a student in one arm.

    Attributes:
        arm: teacher, or that of the student.
        student: its parameters, as asked for; 0 for a teacher.
        teacher: likewise.
        seed: of the teacher, and with it of the student.
    """

    arm: str
    student: int
    teacher: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        sizes = f"{self.student}-{self.teacher}" if self.student else f"{self.teacher}"
        return f"{self.arm}-{sizes}-seed_{self.seed}"

    @property
    def taught_by(self) -> Cell:
        """The cell of the teacher."""
        return Cell(_TEACHER, 0, self.teacher, self.seed)


def cells(config: SweepConfig) -> list[Cell]:
    """All cells, the teachers of a seed before its students.

    Example:
        >>> [cell.name for cell in cells(SweepConfig((2,), (1, 4), ("pruned",), seeds=1))]
        ['teacher-4-seed_0', 'pruned-2-4-seed_0']
    """
    found = []
    least = min(config.students)
    for seed in range(config.seeds):
        found += [Cell(_TEACHER, 0, teacher, seed) for teacher in sorted(config.teachers) if teacher > least]
        for arm in config.arms:
            for student in sorted(config.students):
                found += [Cell(arm, student, teacher, seed) for teacher in sorted(config.teachers) if teacher > student]
    return found


def sweep(
    tokens: Tokens,
    folder: str | Path,
    config: SweepConfig,
    *,
    wait: bool = True,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Work through the cells that nobody else works on until all are finished; returns what was measured in them.

    Args:
        tokens: what `write_tokens` left.
        folder: for a folder of each cell, shared with other processes that were given the same.
        config: what is tried; a later sweep in the same folder may ask for more.
        wait: whether to wait for cells of other processes, and to take over those of dead ones; if not, the rows of
            the finished ones are returned as soon as nothing is left to begin.
        progress: whether to show bars.
        device: where to train.

    Raises:
        FileExistsError: a cell was made with other settings.
        ValueError: a size cannot be reached, the part has no window to measure on, torchrun started this process, or
            as of `train` and `distil`.
    """
    if process_count() > 1:
        raise ValueError("sweep: expected processes of their own, which take a cell each, got those of one torchrun")
    side_by_side(tokens.part(config.part), config.teacher.context)  # refused now, and not after a training
    folder, everything = Path(folder), cells(config)
    scratch = config.students if set(config.arms) - {"pruned"} else ()
    for size in (*config.teachers, *scratch):  # those that cannot be are refused before anything is trained
        sized(config.teacher, tokens.vocabulary, size)
    while True:
        worked = False
        for cell in everything:
            if _finished(folder, cell, config, tokens) or (
                cell.student and not _finished(folder, cell.taught_by, config, tokens)
            ):
                continue
            with claimed(folder / cell.name, config.patience) as mine:
                if mine and not _finished(folder, cell, config, tokens):  # since we looked
                    _work(tokens, folder, cell, config, progress, device)
                    worked = True
        rows = [row for cell in everything if (row := _finished(folder, cell, config, tokens))]
        if len(rows) == len(everything) or not (worked or wait):
            return rows
        if not worked:
            time.sleep(config.patience / 10)


def _settings(cell: Cell, config: SweepConfig, tokens: Tokens) -> dict[str, Any]:
    """What a cell's result depends on."""
    told = {
        "cell": dataclasses.asdict(cell),
        "tokens": belonging(tokens, tokens.vocabulary),
        "part": config.part,
        "teacher": dataclasses.asdict(config.teacher),
        "student": dataclasses.asdict(config.student) if cell.student else None,
        "cheapest": _cheapest(cell, config) if cell.arm == "scratch_compute" else None,
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))
    return plain


def _finished(folder: Path, cell: Cell, config: SweepConfig, tokens: Tokens) -> dict[str, Any] | None:
    """What a finished cell measured."""
    file = folder / cell.name / "result.json"
    if not file.is_file():
        return None
    held = read_checked_json(file, "what a cell measured; delete it, and it is measured again")
    if held.get("settings") != _settings(cell, config, tokens):
        raise FileExistsError(
            f"{file.parent}: expected a cell of these settings, got one of others; choose another folder"
        )
    row: dict[str, Any] = held["row"]  # which is written with its settings
    return row


def _work(
    tokens: Tokens, folder: Path, cell: Cell, config: SweepConfig, progress: bool, device: torch.device | str
) -> None:
    """Train one cell and write what was measured."""
    settings = _settings(cell, config, tokens)
    run = RunFolder(folder / cell.name, settings, cell.seed)
    row: dict[str, Any] = dataclasses.asdict(cell)
    if not cell.student:
        wanted = sized(config.teacher, tokens.vocabulary, cell.teacher)
        model, result = train(
            tokens, _seeded(wanted, cell.seed), run=run, samples=False, progress=progress, device=device
        )
        row["operations"] = 6.0 * multiplied(model) * _read(result, wanted.training, config)
    else:
        teacher = load(folder / cell.taught_by.name / MODEL, device).eval()
        told = _finished(folder, cell.taught_by, config, tokens)
        assert told is not None
        model, result, training = _student(tokens, run, cell, config, teacher, progress, device)
        reads = 0 if cell.arm == "alone" else 2.0 * multiplied(teacher)
        row["operations"] = (6.0 * multiplied(model) + reads) * _read(result, training, config)
        row |= {"teacher_parameters": teacher.n_parameters, "teacher_nats": told["nats"]}
        row |= {"teacher_operations": told["operations"]}
    scores = evaluate(model, tokens, config.part, config.teacher.context)
    row |= {"parameters": model.n_parameters, "nats": scores.nats_per_token, "bits_per_byte": scores.bits_per_byte}
    row |= {"steps": result.steps, "minutes": result.seconds / 60}
    run.write("result.json", checked_text({"settings": settings, "row": row}))


def _student(
    tokens: Tokens,
    run: RunFolder,
    cell: Cell,
    config: SweepConfig,
    teacher: LanguageModel,
    progress: bool,
    device: torch.device | str,
) -> tuple[LanguageModel, TrainingResult, TrainingConfig]:
    lesson = config.student
    seed = cell.seed + _APART
    if cell.arm == "pruned":
        training = dataclasses.replace(lesson.training, seed=seed)
        lesson = dataclasses.replace(lesson, training=training)
        ranked = calibrated(teacher, tokens, lesson)
        model = prune_to(teacher, ranked, cell.student)
        return model, distil(model, teacher, tokens, lesson, run=run, progress=progress, device=device), training
    # From scratch, at the rate of all training from scratch, for the steps of the distillation or what they cost.
    scratch = _seeded(sized(config.teacher, tokens.vocabulary, cell.student), seed)
    model = build(tokens, scratch)
    mine, read = 6 * multiplied(model), 2 * multiplied(teacher)
    steps = float(lesson.training.steps)
    if cell.arm == "alone":
        steps *= (mine + read) / mine
    elif cell.arm == "scratch_compute":
        cheapest = build(tokens, sized(config.teacher, tokens.vocabulary, _cheapest(cell, config)))
        steps *= (mine + 2 * multiplied(cheapest)) / (mine + read)
    training = dataclasses.replace(
        lesson.training,
        steps=max(1, round(steps)),
        rate=scratch.training.rate,
        warm_up=round(lesson.training.warm_up * steps / lesson.training.steps),
        seed=seed,
    )
    if cell.arm == "alone":
        alone = dataclasses.replace(scratch, training=training)
        model, result = train(tokens, alone, run=run, samples=False, progress=progress, device=device)
        return model, result, training
    lesson = dataclasses.replace(lesson, training=training)
    return model, distil(model, teacher, tokens, lesson, run=run, progress=progress, device=device), training


def _cheapest(cell: Cell, config: SweepConfig) -> int:
    """The smallest teacher of a student."""
    return min(teacher for teacher in config.teachers if teacher > cell.student)


def _seeded(config: LanguageConfig, seed: int) -> LanguageConfig:
    """The same with the seed of a cell in place of its own."""
    return dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))


def _read(result: TrainingResult, training: TrainingConfig, config: SweepConfig) -> int:
    """Tokens of a training."""
    return result.steps * training.batch * config.teacher.context
