"""Item 2, second part: Apple's small mapping problem: does a student of fixed width have a best teacher?

Inputs are 8 digits of {0, 1, 2} and a place among the 8, one-hot: 3^8 times 8 = 52,488 in all, and all are measured.
The publication gives inputs, networks and training, and that easy and hard samples have to be mixed; in the text at
hand it does not give the labels. Ours: where the digit at the place is 0 or 1, that digit (easy); where it is 2, the
sum of all digits modulo 3 (hard).

Networks have two hidden layers of one width, ReLU; Adam at 3e-4, cosine after 5 % of warm-up, batches of 512,
max(500 512, 20 N) fresh samples for N parameters. Teachers learn labels, students a teacher's distribution (forward
KL). Measured is the student's cross-entropy of the labels over all inputs.

    python -m benchmarks.distillation_mapping               # minutes of a core
    WIDE=1 python -m benchmarks.distillation_mapping        # their student of 256 features, hours
    TRIAL=1 python -m benchmarks.distillation_mapping       # tries that it runs and writes its record

Source: Busbridge et al., Distillation Scaling Laws (2025, arXiv:2502.08606), appendix on the mapping problem; their
student has 256 features and their widths go further up. Finished networks are kept.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, one_hot

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.trial import STUDIES, usual

FOLDER = STUDIES / "distillation_mapping/full"
DIGITS, BATCH, RATE = 8, 512, 3e-4
LEAST = usual(500, trial=4)  # steps
A_PARAMETER = usual(20.0, trial=0.0)  # samples
WIDE = bool(os.environ.get("WIDE"))
TEACHERS = usual((16, 32, 64, 128, 256, 512, 1024) if WIDE else (4, 8, 16, 32, 64, 128, 256), trial=(4, 8))
STUDENTS = usual((256,) if WIDE else (8, 16, 32, 64), trial=(4,))
SEEDS = usual((0, 1, 2, 3), trial=(0,))


def inputs_of(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs ``(n, 16)`` and labels ``(n,)`` of numbers from 0 to 3^8 8 - 1.

    Example:
        >>> x, labels = inputs_of(torch.tensor([0, 8 * (2 + 3) + 0, 8 * (2 + 3) + 1]))
        >>> x[1].int().tolist()
        [2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        >>> labels.tolist()
        [0, 0, 1]
    """
    places, context = numbers % DIGITS, numbers // DIGITS
    digits = torch.stack([context // 3**place % 3 for place in range(DIGITS)], 1)
    asked = digits.gather(1, places[:, None])[:, 0]
    labels = torch.where(asked == 2, digits.sum(1) % 3, asked)
    return torch.cat([digits, one_hot(places, DIGITS)], 1).float(), labels


def network(width: int, seed: int) -> nn.Sequential:
    """Two hidden layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(2 * DIGITS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
        )


def trained(width: int, seed: int, teacher: nn.Module | None) -> nn.Sequential:
    """A network that learns the labels, or what a teacher says."""
    model = network(width, 2 * seed + (teacher is not None))
    count = sum(parameter.numel() for parameter in model.parameters())
    steps = max(LEAST, math.ceil(A_PARAMETER * count / BATCH))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    rise = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / (steps - rise)))),
    )
    generator = torch.Generator().manual_seed(1000 * seed + (teacher is not None))
    for _ in range(steps):
        x, labels = inputs_of(torch.randint(3**DIGITS * DIGITS, (BATCH,), generator=generator))
        if teacher is None:
            loss = cross_entropy(model(x), labels)
        else:
            with torch.no_grad():
                lesson = teacher(x).log_softmax(-1)
            loss = kl_div(model(x).log_softmax(-1), lesson, reduction="batchmean", log_target=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model


@torch.no_grad()
def nats(model: nn.Module) -> dict[str, float]:
    """Cross-entropy of the labels over all inputs, and the share that is right."""
    x, labels = inputs_of(torch.arange(3**DIGITS * DIGITS))
    logits = model(x)
    right = (logits.argmax(-1) == labels).double().mean()
    return {"nats": float(cross_entropy(logits, labels)), "right": float(right)}


def teacher_of(width: int, seed: int) -> nn.Module:
    """A trained teacher, kept with its weights."""
    file = FOLDER / f"teacher-{width}-{seed}.safetensors"
    model = network(width, 2 * seed)
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        model = trained(width, seed, None)
        temporary = file.with_suffix(f".{os.getpid()}")
        safetensors.torch.save_file(model.state_dict(), temporary)
        temporary.replace(file)
    model.load_state_dict(safetensors.torch.load_file(file))
    return model


def cell(student: int, teacher: int, seed: int) -> dict[str, Any]:
    """A student of a teacher; student 0 is the teacher itself, teacher 0 none."""
    started = time.process_time()
    if not student:
        model = teacher_of(teacher, seed)
    elif not teacher:
        model = trained(student, seed, None)
    else:
        model = trained(student, seed, teacher_of(teacher, seed))
    return {
        "student": student,
        "teacher": teacher,
        "seed": seed,
        **nats(model),
        "seconds": time.process_time() - started,
    }


def picture(by: dict[tuple[int, int, int], dict[str, Any]], file: Path) -> None:
    """Nats of each student above those with its best teacher, over the teacher's width; bars from seed to seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for student in STUDENTS:
        nats = torch.tensor([[by[student, teacher, seed]["nats"] for seed in SEEDS] for teacher in TEACHERS])
        best = int(nats.mean(1).argmin())
        above = nats - nats[best]  # seed by seed
        off = torch.stack([above.mean(1) - above.amin(1), above.amax(1) - above.mean(1)])
        axis.errorbar(
            TEACHERS, above.mean(1), yerr=off, marker="o", ms=3, capsize=2, label=f"student of width {student}"
        )
    axis.set(xscale="log", xlabel="width of the teacher", ylabel="nats above those with the best teacher")
    axis.set_yscale("symlog", linthresh=1e-3)
    axis.set_xticks(TEACHERS, map(str, TEACHERS))
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Train, measure, record."""
    torch.set_num_threads(1)
    rows = []
    for seed in SEEDS:
        for teacher in TEACHERS:
            for student in (0, *STUDENTS):
                path = kept_path(FOLDER / "cells", json.dumps([student, teacher, seed]))
                rows.append(kept(path, lambda s=student, t=teacher, n=seed: cell(s, t, n)))  # type: ignore[misc]
                print(rows[-1], flush=True)
    by = {(row["student"], row["teacher"], row["seed"]): row for row in rows}
    table = []
    for student in STUDENTS:
        means = {t: statistics.fmean(by[student, t, seed]["nats"] for seed in SEEDS) for t in TEACHERS}
        best = min(means, key=lambda teacher: means[teacher])
        rises = [by[student, TEACHERS[-1], seed]["nats"] - by[student, best, seed]["nats"] for seed in SEEDS]
        table.append(
            {
                "student width": student,
                **{f"teacher {teacher}": mean for teacher, mean in means.items()},
                "best teacher": best,
                "largest above the best": statistics.fmean(rises),
                "least and greatest": f"{min(rises):+.4f} to {max(rises):+.4f}",
                "rise and fall in every seed": TEACHERS[0] < best < TEACHERS[-1] and min(rises) > 0,
            }
        )
        print(table[-1])
    seen = [row["largest above the best"] for row in table if row["rise and fall in every seed"]]
    told = f"; with the largest teacher they are worse by {min(seen):.4f} to {max(seen):.4f} nats" if seen else ""
    path = record.write(
        "distillation",
        "2c" if WIDE else "2b",
        claim=f"Apple's mapping problem with labels of our own, at widths up to {TEACHERS[-1]}: {len(seen)} of "
        f"{len(STUDENTS)} student widths have a best teacher inside the range, in every seed{told}",
        measured=table,
        target="a best teacher inside the range, and the largest worse in every seed, for every student width",
        holds=len(seen) == len(STUDENTS),
        baselines=[
            {
                "teacher width": teacher,
                "nats": statistics.fmean(by[0, teacher, seed]["nats"] for seed in SEEDS),
                "share right": statistics.fmean(by[0, teacher, seed]["right"] for seed in SEEDS),
            }
            for teacher in TEACHERS
        ],
        command=f"{'WIDE=1 ' if WIDE else ''}OMP_NUM_THREADS=1 python -m benchmarks distillation_mapping",
        seeds=list(SEEDS),
        spread=f"means over {len(SEEDS)} seeds, least and greatest in the table; all inputs are measured; "
        f"{sum(row['seconds'] for row in rows) / 60:.1f} minutes of a core",
    )
    picture(by, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
