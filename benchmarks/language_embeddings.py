"""Items 1 and 2: embeddings and heads at equal parameters on real text, and how many parameters an embedding is worth.

A cell is one training: vocabulary, width, kind, seed, and a budget of tokens or of minutes. At each vocabulary and
width all kinds have as many parameters as the untied table, as near as the width of the perceptrons (or the number of
layers) allows, and see the same batches in the same order. Scores are of the test part.

A cell is kept in runs/benchmarks/language/embeddings and goes on when it is cut off; several machines take a share each
and copy their .json files together. Then the same command, with no cell missing, writes the records.

    python -m benchmarks.language_embeddings [--device cuda] [--share 0/2] [--tiny]

Item 2: with L = exp(a) N^-c fitted to bits a byte of the untied table over the sizes (least squares of logarithms), a
model of N parameters and L bits a byte is worth N' = (exp(a) / L)^(1/c) parameters; the factor is the geometric mean of
N' / N over the sizes. Its interval holds 95 % of 2000 resamplings of the seeds within each kind and size.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.kept import kept, kept_path
from domains.language.compare import Spend, equalised, parameters
from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import TransformerConfig
from separable.sequence.heads import HEADS
from separable.training import RunFolder, TrainingConfig

FOLDER = Path("runs/benchmarks/language/embeddings")
BASELINE, TIED = "table, untied", "table, tied"
KINDS = {
    BASELINE: ("table", "table:tied=false"),
    TIED: ("table", "table:tied=true"),
    "low rank (ALBERT)": ("low_rank:rank=32", "table:tied=false"),
    "tensor train": ("tensor_train", "table:tied=false"),
    "hashed": ("hashed", "table:tied=false"),
    "Leviathan as published": ("leviathan", "table:tied=false"),
    "generated": ("generated", "table:tied=false"),
    "generated, 512 frequent tokens": ("generated:frequent=512", "table:tied=false"),
    **{f"generated, {head} head": ("generated", head) for head in HEADS if head != "table"},
}
SEPARABLE = ("generated", "generated, 512 frequent tokens")  # what has to win
_WINDOWS = 1000  # of the test part


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training."""

    vocabulary: int
    width: int
    kind: str
    seed: int
    budget: str  # "tokens" or "minutes"


def config_of(cell: Cell, chosen: argparse.Namespace, vocabulary: int) -> LanguageConfig:
    """The config of a cell, with as many parameters as the baseline."""
    steps = round(chosen.tokens * 1e6 / (chosen.batch * chosen.context)) if cell.budget == "tokens" else 0
    training = TrainingConfig(
        steps=steps,
        minutes=chosen.minutes,
        batch=chosen.batch,
        rate=chosen.rate,
        evaluate_every=chosen.evaluate_every,
        precision=chosen.precision,
        seed=cell.seed,
    )
    transformer = TransformerConfig(width=cell.width, layers=chosen.layers, heads=max(1, cell.width // 32))
    embedding, head = KINDS[BASELINE]
    baseline = LanguageConfig(transformer, embedding, head, chosen.context, training=training)
    embedding, head = KINDS[cell.kind]
    mine = dataclasses.replace(baseline, embedding=embedding, head=head)
    return equalised(mine, vocabulary, parameters(baseline, vocabulary), chosen.spend)


def computed(cell: Cell, chosen: argparse.Namespace, tokens: Tokens) -> dict[str, Any] | None:
    """The result of a cell: trained now, or kept; none where its embedding alone has more parameters than allowed."""
    try:
        config = config_of(cell, chosen, tokens.vocabulary)
    except ValueError as refused:
        print(f"{cell.kind}: V = {cell.vocabulary}, width {cell.width} left out: {refused}", flush=True)
        return None
    settings = {
        "cell": dataclasses.asdict(cell),
        "config": dataclasses.asdict(config),
        "tokens": tokens.index["made_from"],
    }
    path = kept_path(chosen.folder, json.dumps(settings, sort_keys=True))

    def compute() -> dict[str, Any]:
        print(f"{cell.kind}: V = {cell.vocabulary}, width {cell.width}, seed {cell.seed}, by {cell.budget}", flush=True)
        run = RunFolder(path.with_suffix(""), settings, cell.seed)
        model, result = train(tokens, config, run=run, samples=False, device=chosen.device)
        windows = evenly(len(tokens.part("test")), config.context, _WINDOWS)
        scores = evaluate(model, tokens, "test", config.context, windows)
        for name in ("last", "best"):  # many cells are large
            (run.path / f"{name}.safetensors").unlink(missing_ok=True)
        return {
            **dataclasses.asdict(cell),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "embedding": sum(parameter.numel() for parameter in model.embedding.parameters()),
            "bits_per_byte": scores.bits_per_byte,
            "nats_per_token": scores.nats_per_token,
            "bands": {band["ranks"]: band["nats"] for band in scores.bands},
            "steps": result.steps,
            "minutes": result.seconds / 60,
            "tokens_per_second": result.speed,
        }

    return kept(path, compute)


def effective_factor(
    baseline: Sequence[tuple[float, Sequence[float]]], others: Sequence[tuple[float, Sequence[float]]], seed: int = 0
) -> tuple[float, float, float]:
    """How many parameters one of the others is worth, with the ends of its 95 % interval.

    Args:
        baseline: for each size the number of parameters, and bits a byte of each seed.
        others: likewise.
        seed: of the resampling.
    """

    def factor(left: list[float], right: list[float]) -> float:
        sizes = np.log([size for size, _ in baseline])
        slope, level = np.polyfit(sizes, np.log(left), 1)
        worth = (np.log(right) - level) / slope
        return float(np.exp(np.mean(worth - np.log([size for size, _ in others]))))

    random = np.random.default_rng(seed)

    def resampled(sides: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
        return [float(np.mean(random.choice(np.asarray(losses), len(losses)))) for _, losses in sides]

    measured = factor(*([float(np.mean(losses)) for _, losses in side] for side in (baseline, others)))
    ends = np.quantile([factor(resampled(baseline), resampled(others)) for _ in range(2000)], [0.025, 0.975])
    return measured, float(ends[0]), float(ends[1])


def main() -> None:
    """Compute the cells of this share; with all of them there, write the records."""
    chosen = _arguments()
    cells = [
        Cell(vocabulary, width, kind, seed, budget)
        for seed, vocabulary, width, budget, kind in itertools.product(
            range(chosen.seeds), chosen.vocabularies, chosen.widths, chosen.budgets, chosen.kinds
        )
    ]
    tokens = {
        vocabulary: Tokens(
            write_tokens(
                chosen.folder.parent / f"{Path(chosen.source).stem}_{vocabulary}",
                TokenizeConfig(CorpusConfig(chosen.source), vocabulary=vocabulary),
            )
        )
        for vocabulary in chosen.vocabularies
    }
    mine, shares = (int(part) for part in chosen.share.split("/"))
    found = [computed(cell, chosen, tokens[cell.vocabulary]) for cell in cells[mine::shares]]
    rows = [row for row in found if row is not None]
    summary = summarised(rows)
    for row in summary:
        print(row)
    if shares == 1 and not chosen.tiny and set(chosen.kinds) == set(KINDS):
        _record_comparison(summary, chosen)
        _record_factors(rows, chosen)


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds of each budget, vocabulary, width and kind, in that order."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["budget"], row["vocabulary"], row["width"], row["kind"]), []).append(row)
    found = []
    for (budget, vocabulary, width, kind), group in sorted(groups.items(), key=lambda item: item[0][:3]):
        bits = [row["bits_per_byte"] for row in group]
        *_, rare = group[0]["bands"]
        found.append(
            {
                "equal": budget,
                "V": vocabulary,
                "width": width,
                "kind": kind,
                "parameters": group[0]["parameters"],
                "of the embedding": group[0]["embedding"],
                "bits a byte": statistics.mean(bits),
                "deviation": statistics.stdev(bits) if len(bits) > 1 else float("nan"),
                **{f"nats, ranks {ranks}": _mean(group, ranks) for ranks in group[0]["bands"] if ranks != rare},
                f"nats, ranks {rare}": _mean(group, rare),
                "tokens per second": statistics.median(row["tokens_per_second"] for row in group),
            }
        )
    return found


def _mean(group: list[dict[str, Any]], ranks: str) -> float:
    return statistics.mean(row["bands"].get(ranks, float("nan")) for row in group)


def _record_comparison(summary: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    won, places = 0, 0
    for _, group in itertools.groupby(summary, key=lambda row: (row["equal"], row["V"], row["width"])):
        bits = {row["kind"]: row["bits a byte"] for row in group}
        places += 1
        won += min(bits[kind] for kind in SEPARABLE if kind in bits) < min(bits[BASELINE], bits[TIED])
    tables = (BASELINE, TIED)
    record.write(
        "language",
        "1",
        claim="At equal parameters, data and order of batches a separable embedding has fewer bits a byte than a tied "
        f"and an untied table, V = {', '.join(map(str, chosen.vocabularies))}, {len(chosen.widths)} sizes",
        measured=[row for row in summary if row["kind"] not in tables],
        target=f"fewer bits a byte than both tables at each vocabulary, size and budget; reached at {won} of {places}",
        holds=won == places,
        baselines=[row for row in summary if row["kind"] in tables],
        command="python -m benchmarks.language_embeddings",
        seeds=list(range(chosen.seeds)),
        spread="the column deviation: standard deviation of bits a byte over seeds",
    )


def _record_factors(rows: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    measured = []
    for vocabulary, budget in itertools.product(chosen.vocabularies, chosen.budgets):
        sides: dict[str, dict[float, list[float]]] = {}
        for row in rows:
            if (row["vocabulary"], row["budget"]) == (vocabulary, budget):
                sides.setdefault(row["kind"], {}).setdefault(row["parameters"], []).append(row["bits_per_byte"])
        for kind, sizes in sides.items():
            if kind != BASELINE:
                factor, low, high = effective_factor(list(sides[BASELINE].items()), list(sizes.items()))
                interval = f"{low:.2f} to {high:.2f}"
                measured.append({"V": vocabulary, "equal": budget, "kind": kind, "factor": factor, "95 %": interval})
    best = [row for row in measured if row["kind"] in SEPARABLE and row["equal"] == "tokens"]
    record.write(
        "language",
        "2",
        claim="A model with a separable embedding is worth one with an untied table and 1.47 to 2.11 times the "
        "parameters (published against a tied table, at V = 200,376 and 200 M to 1.2 B parameters)",
        measured=[row for row in measured if row["kind"] != TIED],
        target="a factor of at least 1.47 at equal tokens, at each vocabulary, for one of the separable kinds",
        holds=all(
            max(row["factor"] for row in best if row["V"] == vocabulary) >= 1.47 for vocabulary in chosen.vocabularies
        ),
        baselines=[row for row in measured if row["kind"] == TIED],
        command="python -m benchmarks.language_embeddings",
        seeds=list(range(chosen.seeds)),
        spread=f"95 % of 2000 resamplings of the seeds; fit over {len(chosen.widths)} sizes",
    )


def _arguments() -> argparse.Namespace:
    spends: tuple[Spend, ...] = ("perceptron", "layers", "nothing")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8192, 32768])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 96, 128, 192])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", nargs="+", default=["tokens", "minutes"], choices=["tokens", "minutes"])
    parser.add_argument("--tokens", type=float, default=8.0, help="millions, of a training by tokens")
    parser.add_argument("--minutes", type=float, default=15.0, help="of a training by minutes")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--evaluate-every", type=int, default=200)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--spend", default="perceptron", choices=spends, help="what saved parameters go to")
    parser.add_argument("--source", default="standard_library", help="a corpus, see domains.language.corpus")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--share", default="0/1", help="which of how many shares of the cells to compute")
    parser.add_argument("--tiny", action="store_true", help="a minute, and no record")
    chosen = parser.parse_args()
    if chosen.tiny:
        chosen.vocabularies, chosen.widths, chosen.seeds, chosen.budgets = [512], [32, 64], 1, ["tokens"]
        chosen.tokens, chosen.layers, chosen.context, chosen.batch = 0.005, 1, 32, 4
        chosen.kinds, chosen.folder = [BASELINE, "generated", TIED], FOLDER.with_name("embeddings_tiny")
        KINDS["generated"] = ("generated:seed_dim=8,heads=1,knots=4,rank=4", "table:tied=false")
    return chosen


if __name__ == "__main__":
    main()
