"""Item 3: a separable student against table students of equal parameters, distilled from the same teacher.

Byte pairs of Python's standard library, where a table is most of a small model. One teacher a seed; the students, from
scratch and at one number of parameters, differ in embedding and head: what a kind saves goes to wider perceptrons.
MINUTES is the teacher's time on one core, students have half as many steps; finished trainings are kept.

    MINUTES=10 SEEDS=3 python -m benchmarks.distillation_separable_student
    TRIAL=1 python -m benchmarks.distillation_separable_student         # tries that it runs and writes its record
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.teaching_setting import BATCH, CONTEXT, KIND, MINUTES, SEEDS, family, steps_in_minutes, text
from benchmarks.trial import STUDIES, usual
from domains.language.compare import equalised, parameters
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.pruned_model import load
from domains.language.distillation.train import distil
from domains.language.evaluate import evaluate
from domains.language.tokens import Tokens
from domains.language.train import MODEL, LanguageConfig, build, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder

VOCABULARY = usual(4096, trial=512)
FOLDER = STUDIES / "distillation_separable_student" / KIND
COMMAND = f"OMP_NUM_THREADS=1 MINUTES={MINUTES:g} SEEDS={SEEDS} python -m benchmarks.distillation_separable_student"
TEACHER = usual(3_000_000, trial=150_000)
WIDTH, LAYERS = usual((64, 4), trial=(32, 2))  # of the students
GENERATED = usual("generated:rank=32,frequent=256", trial="generated:rank=2,frequent=8")
KINDS = (
    "table table:tied=false",  # which sets the number of parameters
    "table table:tied=true",
    "low_rank:rank=16 table:tied=false",
    f"{GENERATED} table:tied=false",
    f"{GENERATED} hierarchical:rank={usual(256, trial=16)}",
)
SEPARABLE = tuple(kind for kind in KINDS if kind.startswith("generated"))


def teacher_of(tokens: Tokens, config: LanguageConfig, seed: int) -> Path:
    """The folder of a trained teacher."""
    seeded = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
    folder = FOLDER / f"teacher-seed_{seed}"
    if not (folder / MODEL / "model.safetensors").is_file():
        train(tokens, seeded, run=RunFolder(folder, seeded, seed), samples=False, progress=False)
    return folder / MODEL


def measured(tokens: Tokens, kind: str, teacher: Path, lesson: DistillationConfig, seed: int) -> dict[str, Any]:
    """One student, distilled."""
    small = TransformerConfig(width=WIDTH, layers=LAYERS, heads=WIDTH // 16)
    first, head = KINDS[0].split()
    base = LanguageConfig(small, first, head, CONTEXT)
    embedding, head = kind.split()
    config = equalised(
        dataclasses.replace(base, embedding=embedding, head=head),
        tokens.vocabulary,
        parameters(base, tokens.vocabulary),
        "perceptron",
    )
    student = build(tokens, dataclasses.replace(config, training=lesson.training))
    result = distil(student, load(teacher), tokens, lesson, progress=False)
    scores = evaluate(student, tokens, "test", CONTEXT)
    return {
        "kind": kind,
        "seed": seed,
        "parameters": student.n_parameters,
        "embedding and head": sum(p.numel() for m in (student.embedding, student.head) for p in m.parameters()),
        "bits_per_byte": scores.bits_per_byte,
        "nats": scores.nats_per_token,
        "minutes": result.seconds / 60,
    }


def main() -> None:
    """Train, measure, record."""
    torch.set_num_threads(1)
    tokens = text(VOCABULARY)
    base = dataclasses.replace(family(100), transformer=TransformerConfig(width=WIDTH, layers=4, heads=WIDTH // 16))
    steps = steps_in_minutes(FOLDER, tokens, base, TEACHER, MINUTES)
    half = max(2, steps // 2)
    wide = 4 * WIDTH
    config = dataclasses.replace(family(steps), transformer=TransformerConfig(width=wide, layers=4, heads=wide // 16))
    training = dataclasses.replace(config.training, steps=half, warm_up=half // 10, evaluate_every=max(1, half // 10))
    rows = []
    for seed in range(SEEDS):
        teacher = teacher_of(tokens, config, seed)
        lesson = DistillationConfig(
            context=CONTEXT,
            validation_windows=config.validation_windows,
            training=dataclasses.replace(training, seed=seed + 100),
        )
        for kind in KINDS:
            described = kept_path(FOLDER / "cells", json.dumps([kind, seed, steps, WIDTH]))
            rows.append(
                kept(described, lambda k=kind, t=teacher, le=lesson, s=seed: measured(tokens, k, t, le, s))  # type: ignore[misc]
            )
            print(rows[-1], flush=True)
    table = [row for row in rows if row["kind"] == KINDS[0]]
    lines = []
    for kind in KINDS:
        of = [row for row in rows if row["kind"] == kind]
        gains = [base["bits_per_byte"] - row["bits_per_byte"] for base, row in zip(table, of, strict=True)]
        lines.append(
            {
                "student": kind,
                "parameters": of[0]["parameters"],
                "embedding and head": of[0]["embedding and head"],
                "bits a byte": statistics.fmean(row["bits_per_byte"] for row in of),
                "gain over the first": statistics.fmean(gains),
                "gain, least and greatest": f"{min(gains):+.4f} to {max(gains):+.4f}",
                "minutes": statistics.fmean(row["minutes"] for row in of),
            }
        )
    for line in lines:
        print(line)
    best = max((line for line in lines if line["student"] in SEPARABLE), key=lambda line: line["gain over the first"])
    others = [line for line in lines if line["student"] not in SEPARABLE]
    record.write(
        "distillation",
        "3",
        claim=f"Distilled from one teacher at equal parameters, the best separable student ({best['student']}) costs "
        f"{best['bits a byte']:.4f} bits a byte, the best of the others "
        f"{min(line['bits a byte'] for line in others):.4f}",
        measured=[line for line in lines if line["student"] in SEPARABLE],
        target="fewer bits a byte than every student with a table or a low-rank embedding, in the mean over seeds",
        holds=best["bits a byte"] < min(line["bits a byte"] for line in others),
        baselines=others,
        command=COMMAND,
        seeds=list(range(SEEDS)),
        spread=f"means over {SEEDS} seeds, each with a teacher of its own; gains seed by seed; {half} steps of "
        f"{BATCH * CONTEXT} tokens",
    )


if __name__ == "__main__":
    main()
