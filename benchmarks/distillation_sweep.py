"""Item 1: students of four sizes by teachers of nine, pruned and from scratch: do the curse and the law appear?

Decoders over the bytes of Python's standard library. All teachers are trained for as many tokens, all students for half
as many; MINUTES is the time of the largest teacher on one core. The sweep is that of `separable language capacity-gap`:
several processes that run this file share the cells, and what is finished is never trained again. All of it takes about
16 MINUTES of a core for each seed, and 7 minutes for measuring.

    MINUTES=10 SEEDS=3 SCALE=1 ARMS="pruned scratch scratch_compute" python -m benchmarks.distillation_sweep
    TRIAL=1 python -m benchmarks.distillation_sweep         # tries that it runs and writes its record
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from benchmarks import record
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
from domains.language.distillation.law import PUBLISHED
from domains.language.distillation.sweep import SweepConfig, sweep
from domains.language.distillation.sweep_report import curses, law, points, statement, write_sweep_report

SCALE = float(os.environ.get("SCALE", "1"))  # of all sizes
ARMS = tuple(os.environ.get("ARMS", "pruned scratch scratch_compute").split())  # pruned is always among them
FOLDER = STUDIES / "distillation_sweep" / (KIND if SCALE == 1 else f"{KIND}-scale_{SCALE:g}")
SETTINGS = f"MINUTES={MINUTES:g} SEEDS={SEEDS} SCALE={SCALE:g} ARMS='{' '.join(ARMS)}'"
COMMAND = f"OMP_NUM_THREADS=1 {SETTINGS} python -m benchmarks.distillation_sweep"
SIZES = usual((40_000, 60_000, 90_000, 135_000), trial=(60_000, 70_000, 80_000))
LARGER = usual(
    (65_000, 100_000, 150_000, 225_000, 340_000, 500_000, 750_000, 1_100_000, 1_700_000), trial=(120_000, 180_000)
)
STUDENTS, TEACHERS = (tuple(round(SCALE * size) for size in sizes) for sizes in (SIZES, LARGER))


def config_of(steps: int) -> SweepConfig:
    """The sweep with teachers of so many steps."""
    teacher = family(steps)
    student = lesson_after(teacher)
    return SweepConfig(STUDENTS, TEACHERS, ARMS, SEEDS, teacher=teacher, student=student)


def cost(rows: list[dict[str, Any]], arm: str, told: dict[str, Any]) -> dict[str, float]:
    """Operations of a student's training with its best teacher, and of that teacher's own, which come on top."""
    of = [row for row in rows if row["arm"] == arm and row["student"] == told["student"]]
    best = min(of, key=lambda row: abs(row["teacher_parameters"] - told["best teacher"]))
    return {"operations": best["operations"], "operations of the teacher": best["teacher_operations"]}


def main() -> None:
    """Sweep, report, record."""
    torch.set_num_threads(1)
    tokens = text()
    steps = steps_in_minutes(FOLDER, tokens, family(100), max(TEACHERS), MINUTES)
    config = config_of(steps)
    rows = sweep(tokens, FOLDER, config, progress=False)
    print(write_sweep_report(FOLDER, rows))
    measured: list[dict[str, Any]] = []
    for arm in ARMS:
        found = points(rows, arm)
        print(f"{arm}: {statement(found)}", flush=True)
        measured += [{"arm": arm, **row, **cost(rows, arm, row)} for row in curses(found)]
    pruned = points(rows, "pruned")
    fitted = law(pruned)
    assert fitted is not None
    low, high = fitted.slope_interval() or (0.0, 0.0)
    path = record.write(
        "distillation",
        "1",
        claim=f"Students of {len(STUDENTS)} sizes by teachers of {len(TEACHERS)}, pruned: {statement(pruned)}; from "
        f"scratch: for {sum(row['curse'] for row in measured if row['arm'] == 'scratch')} of {len(STUDENTS)}",
        measured=measured,
        target="for every pruned student a teacher inside the range is the best and the largest is worse by more than "
        "twice the deviation; the published slope, 2.498, lies in the bootstrap's interval of ours",
        holds=all(row["curse"] for row in measured if row["arm"] == "pruned") and low <= PUBLISHED.slope <= high,
        baselines=[{"arm": arm, "said": statement(points(rows, arm))} for arm in ARMS if arm != "pruned"],
        command=COMMAND,
        seeds=list(range(SEEDS)),
        spread=f"means over {SEEDS} seeds, each with teachers of its own; teachers of {steps} steps of "
        f"{BATCH * CONTEXT} tokens, students of half as many; the best teacher is one of those tried, so its ratio "
        "to the student is known no finer than the column between says",
    )
    shutil.copyfile(FOLDER / "figures" / "curves.png", path.with_suffix(".png"))


if __name__ == "__main__":
    main()
