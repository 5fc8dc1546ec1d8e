"""Item 5: tiny Shakespeare by characters, the separable embedding beside a plain untied table, within 15 minutes.

The text is ASCII, so a byte is a character. The first 90 % is for training, the rest for validation, as is usual; the
loss is the mean over all of the validation part, at the checkpoint that evaluations during the training found best.
Both sides have the same body, batches, schedule and minutes, and are tuned with equal care: each of `SETTINGS` is tried
for a share of the minutes, on a seed of its own, and the one with the lowest validation loss is taken. Minutes are of
the processor, all threads together: 15 on 2 cores are 30. What is left of them is for evaluations.

    MINUTES=15 PROCESSES=1 python -m benchmarks.language_tiny_shakespeare [--seeds 3] [--sides SIDE]
    TRIAL=1 python -m benchmarks.language_tiny_shakespeare                tries that it runs, on documentation strings

A training is kept in runs/benchmarks/language/shakespeare and goes on when it is cut off. The text is looked for in
../shared/data/text beside the repository, or where --text says.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import BUILT_IN, CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig

TEXT = usual(Path(__file__).parents[2] / "shared" / "data" / "text" / "tinyshakespeare.txt", trial=Path("docstrings"))
VALIDATION = usual(0.1, trial=0.02)  # share of the text
MINUTES = usual(float(os.environ.get("MINUTES", "15")), trial=0.02)  # of the clock, on CORES cores
CORES = 2  # whose processor time a training may have; with one thread a training is by the clock twice as long
FOLDER = STUDIES / "language/shakespeare" / f"minutes_{MINUTES:g}"
TARGET = 1.60
OURS, PLAIN = "separable embedding", "plain transformer, untied table"
SIDES = {OURS: "generated:seed_dim=32,heads=2,knots=8,rank=32", PLAIN: "table"}
SETTINGS = list(itertools.product((2e-3, 4e-3), (0.0, 0.1)))  # rate, dropout
TUNING, TUNING_SEED = 0.12, 100  # share of the minutes, and a seed that no final training has
BODY = usual(TransformerConfig(192, 4, 6), trial=TransformerConfig(32, 1, 2))
CONTEXT, BATCH, WINDOWS, EVALUATIONS = usual((128, 16, 160, 20), trial=(32, 8, 50, 2))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training."""

    side: str
    rate: float
    dropout: float
    seed: int
    minutes: float
    text: Path

    def config(self) -> LanguageConfig:
        """The same for both sides but for the embedding; a fifteenth of the time is for evaluations and the end."""
        return LanguageConfig(
            dataclasses.replace(BODY, dropout=self.dropout),
            embedding=SIDES[self.side],
            head="table:tied=false",
            context=CONTEXT,
            validation_windows=WINDOWS,
            training=TrainingConfig(
                minutes=self.minutes * CORES * 14 / 15,
                clock="processor",
                batch=BATCH,
                rate=self.rate,
                warm_up=100,
                floor=0.02,
                betas=(0.9, 0.99),
                evaluations=EVALUATIONS,
                precision="auto",
                seed=self.seed,
            ),
        )

    def result(self) -> dict[str, Any]:
        """Loss on all of the validation part, processor time in all, speed; trained now, or kept."""
        config = self.config()
        settings = {"side": self.side, **dataclasses.asdict(config)}
        path = kept_path(FOLDER, json.dumps(settings, sort_keys=True))

        def compute() -> dict[str, Any]:
            tokens, started = text(self.text), time.process_time()
            run = RunFolder(path.with_suffix(""), settings, self.seed)
            model, result = train(tokens, config, run=run, samples=False, progress=False)
            spent = (time.process_time() - started) / 60
            scores = evaluate(model, tokens, "validation", config.context)
            return {
                "side": self.side,
                "rate": self.rate,
                "dropout": self.dropout,
                "seed": self.seed,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "embedding": sum(parameter.numel() for parameter in model.embedding.parameters()),
                "loss": scores.nats_per_token,
                "minutes": max(spent, result.seconds / 60) / CORES,  # where it was resumed the record knows more
                "steps": result.steps,
                "tokens_per_second": result.speed,
            }

        return kept(path, compute)


def text(path: Path) -> Tokens:
    """Its characters, written if they are not there."""
    corpus = CorpusConfig(str(path), validation=VALIDATION, test=0.0)
    return Tokens(write_tokens(FOLDER.parent / "tokens", TokenizeConfig(corpus), progress=False))


def main() -> None:
    """Tune and train what is missing, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=usual(3, trial=1))
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES), metavar="SIDE")
    chosen = parser.parse_args()
    if str(chosen.text) not in BUILT_IN and not chosen.text.is_file():
        print(f"tiny Shakespeare is not at {chosen.text}: nothing measured")
        return
    text(chosen.text)  # written once, not by each process
    processes = int(os.environ.get("PROCESSES", "1"))
    threads = int(os.environ.get("OMP_NUM_THREADS", max(1, CORES // processes)))
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        trials = [
            Cell(side, *setting, TUNING_SEED, MINUTES * TUNING, chosen.text)
            for side in chosen.sides
            for setting in SETTINGS
        ]
        tried = list(pool.map(Cell.result, trials))
        best = {
            side: min((row for row in tried if row["side"] == side), key=lambda row: float(row["loss"]))
            for side in chosen.sides
        }
        cells = [
            Cell(side, best[side]["rate"], best[side]["dropout"], seed, MINUTES, chosen.text)
            for seed in range(chosen.seeds)
            for side in chosen.sides
        ]
        rows = list(pool.map(Cell.result, cells))
    summary = {side: _summary([row for row in rows if row["side"] == side]) for side in chosen.sides}
    for row in (*tried, *rows, *summary.values()):
        print(row)
    if set(chosen.sides) != set(SIDES):
        return
    losses = [row["loss"] for row in rows if row["side"] == OURS]
    record.write(
        "language",
        "5",
        claim=f"Tiny Shakespeare by characters: validation loss at most {TARGET} nats within {MINUTES:g} minutes on "
        f"{CORES} cores, with the separable embedding",
        measured=[summary[OURS]],
        target=f"mean loss at most {TARGET} nats, no training longer than {MINUTES:g} minutes of {CORES} cores",
        holds=statistics.mean(losses) <= TARGET and max(row["minutes"] for row in rows) <= MINUTES,
        baselines=[summary[PLAIN]],
        command=f"OMP_NUM_THREADS=1 MINUTES={MINUTES:g} python -m benchmarks.language_tiny_shakespeare",
        seeds=list(range(chosen.seeds)),
        spread=f"losses {', '.join(f'{loss:.4f}' for loss in losses)}; each side tuned over {len(SETTINGS)} settings "
        f"with {TUNING:.0%} of the minutes",
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    losses = [row["loss"] for row in rows]
    return {
        "side": rows[0]["side"],
        "parameters": rows[0]["parameters"],
        "of the embedding": rows[0]["embedding"],
        "rate": rows[0]["rate"],
        "dropout": rows[0]["dropout"],
        "loss in nats": f"{statistics.mean(losses):.4f}",
        "least and greatest": f"{min(losses):.4f} to {max(losses):.4f}",
        "minutes of the cores": max(row["minutes"] for row in rows),
        "tokens per second": statistics.median(row["tokens_per_second"] for row in rows),
    }


if __name__ == "__main__":
    main()
