"""Item 4: distilled students against the same students trained by cross-entropy alone, at equal compute.

One teacher a seed, students of several sizes, pruned from it and from scratch, each

    distilled    half cross-entropy, half forward KL, the teacher read at every step
    alone        by cross-entropy, for as many more steps as the teacher's reading would have cost

A token costs 6 operations a number of the student, and 2 of the teacher where it is read. The teacher's own training is
not counted: the row of a teacher says what it cost. MINUTES is the teacher's time on one core; finished cells are kept.

    MINUTES=10 SEEDS=3 python -m benchmarks.distillation_against_alone
    TRIAL=1 python -m benchmarks.distillation_against_alone         # tries that it runs and writes its record
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.teaching_setting import (
    BATCH,
    CONTEXT,
    KIND,
    MINUTES,
    SEEDS,
    family,
    lesson_after,
    steps_in_minutes,
    text,
)
from benchmarks.trial import STUDIES, usual
from domains.language.distillation.adaptation import adapt
from domains.language.distillation.pruned_model import load
from domains.language.distillation.students import multiplied, prune_to
from domains.language.distillation.sweep import SweepConfig, sweep
from domains.language.distillation.train import calibrated
from domains.language.evaluate import evaluate
from domains.language.tokens import Tokens
from domains.language.train import MODEL

FOLDER = STUDIES / "distillation_against_alone" / KIND
COMMAND = f"OMP_NUM_THREADS=1 MINUTES={MINUTES:g} SEEDS={SEEDS} python -m benchmarks.distillation_against_alone"
TEACHER = usual(800_000, trial=60_000)
STUDENTS = usual((40_000, 80_000, 160_000, 320_000), trial=(20_000, 30_000))


def pruned_alone(tokens: Tokens, config: SweepConfig, student: int, seed: int) -> dict[str, Any]:
    """A pruned student trained on by cross-entropy, for the compute of its distillation."""
    teacher = load(FOLDER / f"teacher-{TEACHER}-seed_{seed}" / MODEL).eval()
    seeded = dataclasses.replace(config.student.training, seed=seed + 100)
    lesson = dataclasses.replace(config.student, training=seeded)
    model = prune_to(teacher, calibrated(teacher, tokens, lesson), student)
    more = 1 + multiplied(teacher) / (3 * multiplied(model))
    lesson = dataclasses.replace(lesson, adapt_steps=round(seeded.steps * more), adapt_rate=seeded.rate)
    result = adapt(model, tokens, lesson, progress=False)
    scores = evaluate(model, tokens, config.part, CONTEXT)
    return {
        "arm": "pruned_alone",
        "student": student,
        "seed": seed,
        "nats": scores.nats_per_token,
        "bits_per_byte": scores.bits_per_byte,
        "steps": result.steps,
        "operations": 6.0 * multiplied(model) * result.steps * BATCH * CONTEXT,
    }


def main() -> None:
    """Train, measure, record."""
    torch.set_num_threads(1)
    tokens = text()
    steps = steps_in_minutes(FOLDER, tokens, family(100), TEACHER, MINUTES)
    teacher = family(steps)
    student = lesson_after(teacher)
    config = SweepConfig(STUDENTS, (TEACHER,), ("pruned", "scratch", "alone"), SEEDS, teacher=teacher, student=student)
    rows = sweep(tokens, FOLDER, config, progress=False)
    for size in STUDENTS:
        for seed in range(SEEDS):
            described = kept_path(FOLDER / "cells", json.dumps([size, seed, steps, "pruned_alone"]))
            rows.append(kept(described, lambda size=size, seed=seed: pruned_alone(tokens, config, size, seed)))  # type: ignore[misc]
    measured = []
    for size in STUDENTS:
        for start, distilled, alone in (("pruned", "pruned", "pruned_alone"), ("from scratch", "scratch", "alone")):
            by_seed = {
                arm: [row for row in rows if row["student"] == size and row["arm"] == arm] for arm in (distilled, alone)
            }
            gains = [
                other["bits_per_byte"] - one["bits_per_byte"]
                for one, other in zip(by_seed[distilled], by_seed[alone], strict=True)
            ]
            measured.append(
                {
                    "student": size,
                    "start": start,
                    "bits a byte, distilled": statistics.fmean(row["bits_per_byte"] for row in by_seed[distilled]),
                    "bits a byte, alone": statistics.fmean(row["bits_per_byte"] for row in by_seed[alone]),
                    "gain": statistics.fmean(gains),
                    "gain, least and greatest": f"{min(gains):+.4f} to {max(gains):+.4f}",
                    "steps, distilled and alone": f"{by_seed[distilled][0]['steps']}, {by_seed[alone][0]['steps']}",
                    "operations": by_seed[distilled][0]["operations"],
                }
            )
            print(measured[-1], flush=True)
    teachers = [row for row in rows if row["arm"] == "teacher"]
    helps = [row for row in measured if row["gain"] > 0]
    record.write(
        "distillation",
        "4",
        claim=f"At equal compute distillation is better than cross-entropy alone in {len(helps)} of {len(measured)} "
        "cases of student size and start; where it is not stands in the table",
        measured=measured,
        target="a gain in bits a byte in every case, the teacher's reading counted",
        holds=len(helps) == len(measured),
        baselines=[
            {
                "model": "teacher",
                "parameters": row["parameters"],
                "seed": row["seed"],
                "bits a byte": row["bits_per_byte"],
                "operations of its training": row["operations"],
            }
            for row in teachers
        ],
        command=COMMAND,
        seeds=list(range(SEEDS)),
        spread=f"means over {SEEDS} seeds, each with a teacher of its own; gains seed by seed; "
        f"{student.training.steps} steps of {BATCH * CONTEXT} tokens of distillation",
    )


if __name__ == "__main__":
    main()
