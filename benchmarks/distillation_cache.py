"""Item 6: distillation from stored logits beside the teacher itself, on the same windows in the same order.

A small teacher on the docstrings of Python's standard library; students pruned from it to 40 % learn, on text that it
has not seen, from the teacher itself, from its most probable tokens with the mass of the rest, and from draws. Time
counts the training; writing the cache is given beside it, as it is done once for any number of students.

    python -m benchmarks.distillation_cache
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import record
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import CorpusConfig
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.logits_cache import Batch, LogitsCache, LogitsCacheConfig, cached_loss, write_logits
from domains.language.distillation.losses import distillation_loss
from domains.language.distillation.pruning import prune
from domains.language.distillation.train import calibrated
from domains.language.evaluate import mean_loss
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import LanguageModel, TransformerConfig
from separable.training import ShuffledRows, TrainingConfig, run_training

FOLDER = STUDIES / "language/docstrings_257"
SPARSITY, PART, BAR = 0.6, "test", 0.01  # the part that students learn from, which the teacher has not seen


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the comparison."""

    width: int = 64
    layers: int = 4
    context: int = 64
    batch: int = 16
    teacher_steps: int = 600
    student_steps: int = 150
    entries: tuple[int, ...] = (8, 32)
    windows: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)


SIZE = usual(Size(), trial=Size(32, 2, 32, 4, 4, 2, (4,), 4, (0,)))


def rows_of(tokens: Tokens, size: Size, seed: int, folder: Path) -> list[dict[str, Any]]:
    """One seed: nats a token on the validation part of students that learn in each way."""
    training = TrainingConfig(
        steps=size.teacher_steps, batch=size.batch, rate=3e-3, warm_up=20, evaluate_every=10**6, seed=seed
    )
    transformer = TransformerConfig(width=size.width, layers=size.layers)
    teacher, _ = train(
        tokens,
        LanguageConfig(transformer, "table", "table:tied=true", size.context, size.windows, training),
        progress=False,
    )
    teacher.eval()
    ranked = calibrated(teacher, tokens, DistillationConfig(context=size.context, training=training))
    validation = tokens.part("validation")
    windows = evenly(len(validation), size.context, size.windows)

    def online(model: LanguageModel, batch: Batch) -> Tensor:
        return distillation_loss(model, teacher, *batch[:2])

    rows: list[dict[str, Any]] = []
    caches = [(kind, entries) for kind in ("top_k", "sampled") for entries in size.entries]
    for kind, entries in caches:
        config = LogitsCacheConfig(kind, entries, size.context, PART, seed=seed)  # type: ignore[arg-type]
        started = time.perf_counter()
        cache = LogitsCache(write_logits(folder / f"{kind}-{entries}-{seed}", teacher, tokens, config), tokens)
        writing = time.perf_counter() - started
        ways: dict[str, Callable[[LanguageModel, Batch], Tensor]] = {} if rows else {"online": online}
        ways[f"{kind}, {entries}"] = cached_loss
        for way, loss in ways.items():
            student = prune(teacher, ranked, SPARSITY)
            settings = dataclasses.replace(training, steps=size.student_steps, rate=1e-3)
            stream = ShuffledRows(cache.windows, cache.load, seed)
            result = run_training(student, loss, stream, settings, progress=False)
            stored = way != "online"
            rows.append(
                {
                    "teacher": way,
                    "seed": seed,
                    "nats": mean_loss(student, validation, size.context, windows),
                    "seconds": result.seconds,
                    "bytes a token": cache.bytes_per_token if stored else 0.0,
                    "seconds of writing": writing if stored else 0.0,
                }
            )
            print(rows[-1], flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, and how far each way is from the teacher itself, seed by seed."""
    online = {row["seed"]: row for row in rows if row["teacher"] == "online"}
    found = []
    for way in dict.fromkeys(row["teacher"] for row in rows):
        of = [row for row in rows if row["teacher"] == way]
        apart = [row["nats"] - online[row["seed"]]["nats"] for row in of]
        line: dict[str, Any] = {"teacher": way}
        for name in ("nats", "seconds", "bytes a token", "seconds of writing"):
            line[name] = statistics.fmean(row[name] for row in of)
        line["nats above online"] = statistics.fmean(apart)
        line["nats above online, least and greatest"] = f"{min(apart):+.4f} to {max(apart):+.4f}"
        line["time, share of online"] = statistics.fmean(row["seconds"] / online[row["seed"]]["seconds"] for row in of)
        found.append(line)
    return found


def main() -> None:
    """Measure and record."""
    tokens = Tokens(write_tokens(FOLDER, TokenizeConfig(CorpusConfig("docstrings")), progress=False))
    with tempfile.TemporaryDirectory() as folder:
        rows = summary([row for seed in SIZE.seeds for row in rows_of(tokens, SIZE, seed, Path(folder))])
    for row in rows:
        print(row)
    online, *stored = rows
    kept = next(row for row in stored if row["teacher"] == f"top_k, {max(SIZE.entries)}")
    record.write(
        "distillation",
        "6",
        claim=f"A student of the {max(SIZE.entries)} most probable tokens and the mass of the rest, "
        f"{kept['bytes a token']:.0f} bytes a token, ends {kept['nats above online']:+.4f} nats from one of the "
        f"teacher itself, in {kept['time, share of online']:.2f} times its time (V = {tokens.vocabulary}, a teacher of "
        "0.2 million parameters)",
        measured=stored,
        target=f"mean difference of {BAR} nats or less for the largest top-k cache",
        holds=abs(kept["nats above online"]) <= BAR,
        baselines=[online],
        command="python -m benchmarks distillation_cache",
        seeds=list(SIZE.seeds),
        spread=f"means over {len(SIZE.seeds)} teachers, differences seed by seed in the table; {SIZE.student_steps} "
        f"steps of {SIZE.batch * SIZE.context} tokens, one thread",
    )


if __name__ == "__main__":
    main()
