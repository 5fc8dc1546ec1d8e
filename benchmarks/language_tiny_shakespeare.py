"""Item 5: tiny Shakespeare by characters, the separable embedding beside a plain untied table, within 15 minutes.

The text is ASCII, so a byte is a character. The first 90 % is for training, the rest for validation, as is usual; the
loss is the mean over all of the validation part, at the checkpoint that evaluations during the training found best.
Each side gets the same body, batches, schedule and minutes; evaluations count into the 15 minutes.

    python -m benchmarks.language_tiny_shakespeare [--minutes 15] [--seeds 3] [--tiny]

A training is kept in runs/benchmarks/language/shakespeare and goes on when it is cut off. The text is looked for in
../shared/data/text beside the repository, or where --text says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig

TEXT = Path(__file__).parents[2] / "shared" / "data" / "text" / "tinyshakespeare.txt"
FOLDER = Path("runs/benchmarks/language/shakespeare")
TARGET = 1.60
OURS, PLAIN = "separable embedding", "plain transformer, untied table"
SIDES = {OURS: "generated:seed_dim=32,heads=2,knots=8,rank=32", PLAIN: "table"}


def config_of(side: str, minutes: float, seed: int, tiny: bool) -> LanguageConfig:
    """The same for both sides but for the embedding; a fifteenth of the time is left for evaluations and the end."""
    return LanguageConfig(
        TransformerConfig(32, 1, 2) if tiny else TransformerConfig(192, 4, 6, dropout=0.1),
        embedding=SIDES[side],
        head="table:tied=false",
        context=32 if tiny else 128,
        validation_windows=50 if tiny else 160,
        training=TrainingConfig(
            minutes=minutes * 14 / 15,
            batch=8 if tiny else 32,
            rate=3e-3,
            warm_up=100,
            floor=0.02,
            betas=(0.9, 0.99),
            evaluate_every=100 if tiny else 250,
            seed=seed,
        ),
    )


def trained(tokens: Tokens, side: str, config: LanguageConfig, device: str) -> dict[str, Any]:
    """One training: loss on all of the validation part, time in all, speed."""

    def compute() -> dict[str, Any]:
        started = time.perf_counter()
        run = RunFolder(path.with_suffix(""), {"side": side, **_plain(config)}, config.training.seed)
        model, result = train(tokens, config, run=run, samples=False, device=device)
        wall = (time.perf_counter() - started) / 60
        scores = evaluate(model, tokens, "validation", config.context)
        return {
            "side": side,
            "seed": config.training.seed,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "embedding": sum(parameter.numel() for parameter in model.embedding.parameters()),
            "loss": scores.nats_per_token,
            "minutes": max(wall, result.seconds / 60),  # more than the wall says where it was resumed
            "steps": result.steps,
            "tokens_per_second": result.speed,
        }

    path = kept_path(FOLDER, json.dumps({"side": side, "device": device, **_plain(config)}, sort_keys=True))
    return kept(path, compute)


def _plain(config: LanguageConfig) -> dict[str, Any]:
    return dataclasses.asdict(config)


def main() -> None:
    """Train what is missing, and write the record; tiny writes none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="seconds, and no record")
    chosen = parser.parse_args()
    if not chosen.text.is_file():
        print(f"tiny Shakespeare is not at {chosen.text}: nothing measured")
        return
    minutes, seeds = (0.1, 1) if chosen.tiny else (chosen.minutes, chosen.seeds)
    corpus = CorpusConfig(str(chosen.text), validation=0.1, test=0.0)
    tokens = Tokens(write_tokens(FOLDER / "tokens", TokenizeConfig(corpus)))
    rows = [
        trained(tokens, side, config_of(side, minutes, seed, chosen.tiny), chosen.device)
        for seed in range(seeds)
        for side in SIDES
    ]
    summary = {side: _summary([row for row in rows if row["side"] == side]) for side in SIDES}
    for row in (*rows, *summary.values()):
        print(row)
    if chosen.tiny:
        return
    losses = [row["loss"] for row in rows if row["side"] == OURS]
    record.write(
        "language",
        "5",
        claim=f"Tiny Shakespeare by characters: validation loss at most {TARGET} nats within {minutes:g} minutes on "
        f"{torch.get_num_threads()} cores, with the separable embedding",
        measured=[summary[OURS]],
        target=f"mean loss at most {TARGET} nats, no training longer than {minutes:g} minutes",
        holds=statistics.mean(losses) <= TARGET and max(row["minutes"] for row in rows) <= minutes,
        baselines=[summary[PLAIN]],
        command="python -m benchmarks.language_tiny_shakespeare",
        seeds=list(range(seeds)),
        spread=f"losses {', '.join(f'{loss:.4f}' for loss in losses)}",
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    losses = [row["loss"] for row in rows]
    return {
        "side": rows[0]["side"],
        "parameters": rows[0]["parameters"],
        "of the embedding": rows[0]["embedding"],
        "loss in nats": f"{statistics.mean(losses):.4f}",
        "least and greatest": f"{min(losses):.4f} to {max(losses):.4f}",
        "minutes in all": max(row["minutes"] for row in rows),
        "tokens per second": statistics.median(row["tokens_per_second"] for row in rows),
    }


if __name__ == "__main__":
    main()
