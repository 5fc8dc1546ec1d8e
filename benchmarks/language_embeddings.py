"""Items 1 and 2: embeddings and heads at equal parameters on real text, and how many parameters an embedding is worth.

Models are those of `embedding_cells`: first each kind is tuned at each vocabulary and width, then it is trained with
some seeds at equal tokens and at equal minutes of the processor. What is finished is kept in
runs/benchmarks/language/embeddings and what was cut off goes on; several machines take a share each and copy their
.json files together. Then the same command, with no cell missing, writes the records.

    MINUTES=15 PROCESSES=2 python -m benchmarks.language_embeddings [--seeds 3] [--share 0/2] [--device cuda]
    MINUTES=0.6 python -m benchmarks.language_embeddings --tokens 0.5 --batch 8 --tuned-at 64 --timed-widths 64 ...
    TRIAL=1 python -m benchmarks.language_embeddings ...            tries that it runs, whatever sizes are asked for

Item 2: with L = exp(a) N^-c fitted to bits a byte of the untied table over the sizes (least squares of logarithms), a
model of N parameters and L bits a byte is worth N' = (exp(a) / L)^(1/c) parameters; the factor is the geometric mean of
N' / N over the sizes. Its interval holds 95 % of 2000 resamplings, of the seeds within each kind and size and of the
sizes that the mean is taken over.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.embedding_cells import (
    BASELINE,
    KINDS,
    RATES,
    TABLE_RATES,
    TIED,
    TUNING,
    Budget,
    Study,
    results,
    trials,
    tuned,
    whole,
)
from benchmarks.trial import TRIAL
from domains.language.compare import Spend

# What is added to the names of kinds that spend what they save in another way, in a record that has the usual beside.
SPENT = {"perceptron": "", "width": ", wider", "layers": ", deeper", "nothing": ", smaller"}
TABLES = [table + spent for table in (BASELINE, TIED) for spent in SPENT.values()]
MINUTES = os.environ.get("MINUTES", f"{Study().minutes:g}")
ASKED = [argument for argument in sys.argv[1:] if argument != "--only-kept"]
COMMAND = " ".join([f"MINUTES={MINUTES} python -m benchmarks.language_embeddings", shlex.join(ASKED)])


def effective_factor(
    baseline: Sequence[tuple[float, Sequence[float]]], others: Sequence[tuple[float, Sequence[float]]], seed: int = 0
) -> tuple[float, float, float]:
    """How many parameters one of the others is worth, with the ends of its 95 % interval.

    Args:
        baseline: for each size the number of parameters, and bits a byte of each seed.
        others: likewise.
        seed: of the resampling.
    """
    random = np.random.default_rng(seed)

    def factors(left: list[float], right: list[float]) -> np.ndarray[Any, Any]:
        """Logarithms, one a size."""
        sizes = np.log([size for size, _ in baseline])
        slope, level = np.polyfit(sizes, np.log(left), 1)
        worth: np.ndarray[Any, Any] = (np.log(right) - level) / slope
        return worth - np.log([size for size, _ in others])

    def resampled(sides: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
        return [float(np.mean(random.choice(np.asarray(losses), len(losses)))) for _, losses in sides]

    measured = factors(*([float(np.mean(losses)) for _, losses in side] for side in (baseline, others)))
    drawn = [random.choice(factors(resampled(baseline), resampled(others)), len(others)).mean() for _ in range(2000)]
    low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
    return float(np.exp(measured.mean())), float(low), float(high)


def main() -> None:
    """Tune, train the cells of this share, and with all of them there write the records."""
    chosen = _arguments()
    if not chosen.only_kept and not _is_here(chosen.device):
        print("left out: there is no GPU here")
        return
    study = Study(
        folder=chosen.folder,
        source=chosen.source,
        tokens=chosen.tokens,
        minutes=chosen.minutes,
        layers=chosen.layers,
        context=chosen.context,
        batch=chosen.batch,
        spend=chosen.spend,
        precision=chosen.precision,
        device=chosen.device,
        tuned_at=chosen.tuned_at,
        tuned_on=tuple(chosen.tuned_on) if chosen.tuned_on else None,
        tuning_tokens=chosen.tuning_tokens,
        warm_up=chosen.warm_up,
    )
    sizes = list(itertools.product(chosen.vocabularies, chosen.widths, chosen.kinds))
    mine, shares = (int(part) for part in chosen.share.split("/"))
    for vocabulary in chosen.vocabularies:
        study.text(vocabulary)  # written once, not by each process
    trained = [(*size, budget) for size in sizes[mine::shares] for budget in _budgets(size[1], chosen)]
    tried = [trial for size in sizes[mine::shares] for trial in trials(study, *size)]
    away = chosen.tuned_on is not None and not chosen.only_kept and not _is_here(chosen.tuned_on[0])
    if away and not all(trial.is_kept() for trial in tried):
        print("left out: it is tuned on a GPU, and neither that nor what was found there is here")
        return
    tried += [cell for place in trained for cell in whole(study, *place)]
    if not chosen.only_kept:
        results(list(dict.fromkeys(tried)), chosen.processes)
    cells = [
        tuned(study, vocabulary, width, kind, seed, budget, chosen.only_kept)
        for seed in range(chosen.seeds)  # what is cut short has all kinds with fewer seeds
        for vocabulary, width, kind, budget in trained
        if seed == 0 or (kind in chosen.seeded and width in chosen.seeded_widths)
    ]
    wanted = [cell for cell in cells if cell is not None and (not chosen.only_kept or cell.is_kept())]
    rows = results(wanted, chosen.processes)
    summary = summarised(rows, speeds=not chosen.shared)
    for row in (*summary, *factors(rows)):
        print(row)
    if shares > 1:
        return
    if chosen.beside:
        others = _beside(study, chosen)
        if not others:
            print("no records: of the study beside this one nothing is here")
            return
        rows = [{**row, "kind": row["kind"] + SPENT[chosen.spend]} for row in rows] + others
        _record_comparison(summarised(rows, speeds=not chosen.shared), chosen)
        _record_factors(factors(rows), chosen)
    elif set(chosen.kinds) == set(KINDS):
        _record_comparison(summary, chosen)
        _record_factors(factors(rows), chosen)


def _beside(study: Study, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Both tables in a study that spends what they save on perceptrons; where its device is not here, what is kept."""
    device, precision = chosen.beside
    other = dataclasses.replace(study, device=device, precision=precision, spend="perceptron")
    places = itertools.product(range(chosen.seeds_beside), chosen.vocabularies, chosen.widths, (BASELINE, TIED))
    only_kept = chosen.only_kept or not _is_here(device)
    cells = [
        tuned(other, *size, kind, seed, budget, only_kept)
        for (seed, *size, kind), budget in itertools.product(places, chosen.budgets)
    ]
    return results([cell for cell in cells if cell is not None and (not only_kept or cell.is_kept())], 1)


def _is_here(device: str) -> bool:
    return device == "cpu" or torch.cuda.is_available()


def _budgets(width: int, chosen: argparse.Namespace) -> list[Budget]:
    return [budget for budget in chosen.budgets if budget == "tokens" or width in chosen.timed_widths]


def summarised(rows: list[dict[str, Any]], speeds: bool = False) -> list[dict[str, Any]]:
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
                "rate": group[0]["rate"],
                "parameters": group[0]["parameters"],
                "of the embedding": group[0]["embedding"],
                "bits a byte": statistics.mean(bits),
                "perplexity": math.exp(statistics.mean(row["nats_per_token"] for row in group)),
                "deviation": statistics.stdev(bits) if len(bits) > 1 else "one seed",
                **{f"nats, ranks {ranks}": _mean(group, ranks) for ranks in group[0]["bands"] if ranks != rare},
                f"nats, ranks {rare}": _mean(group, rare),
            }
        )
        if speeds:
            found[-1]["tokens per second"] = statistics.median(row["tokens_per_second"] for row in group)
    return found


def _tuning(chosen: argparse.Namespace) -> str:
    return f"{chosen.tuning_tokens / chosen.tokens if chosen.tuning_tokens else TUNING:.0%}"


def _mean(group: list[dict[str, Any]], ranks: str) -> float:
    return statistics.mean(row["bands"].get(ranks, float("nan")) for row in group)


def factors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`effective_factor` of each vocabulary, budget and kind over an untied and a tied table of at least two sizes.

    Beside it the least and greatest change of perplexity from the tied table's, at one size and budget.
    """
    found = []
    for vocabulary, budget in dict.fromkeys((row["vocabulary"], row["budget"]) for row in rows):
        sides: dict[str, dict[int, tuple[float, list[float]]]] = {}
        nats: dict[str, dict[int, list[float]]] = {}
        for row in rows:
            if (row["vocabulary"], row["budget"]) == (vocabulary, budget):
                held = sides.setdefault(row["kind"], {}).setdefault(row["width"], (row["parameters"], []))
                held[1].append(row["bits_per_byte"])
                nats.setdefault(row["kind"], {}).setdefault(row["width"], []).append(row["nats_per_token"])
        for kind, sizes in sides.items():
            told: dict[str, Any] = {"V": vocabulary, "equal": budget, "kind": kind}
            for table, prefix in ((BASELINE, ""), (TIED, "over tied: ")):
                if kind != table and len(sides.get(table, {})) > 1:
                    factor, low, high = effective_factor(list(sides[table].values()), list(sizes.values()))
                    told |= {f"{prefix}factor": factor, f"{prefix}95 %": f"{low:.2f} to {high:.2f}"}
            if kind != BASELINE and len(told) > 3:
                found.append(told | {"perplexity from tied": _changes(nats, kind), "sizes": len(sizes)})
    return found


def _changes(nats: dict[str, dict[int, list[float]]], kind: str) -> str:
    """Of perplexity, from that of the tied table to that of a kind."""
    tied = nats.get(TIED, {})
    shared = [width for width in nats[kind] if width in tied]
    if kind == TIED or not shared:
        return "-"
    changes = [math.expm1(statistics.mean(nats[kind][width]) - statistics.mean(tied[width])) for width in shared]
    return f"{min(changes):+.1%} to {max(changes):+.1%}"


def _record_comparison(summary: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    won, places = 0, 0
    for _, group in itertools.groupby(summary, key=lambda row: (row["equal"], row["V"], row["width"])):
        bits = {row["kind"]: row["bits a byte"] for row in group}
        separable = [value for kind, value in bits.items() if kind.startswith("generated")]
        places += 1
        won += bool(separable) and min(separable) < min(value for kind, value in bits.items() if kind in TABLES)
    places_tuned = f"width {chosen.tuned_at}" if chosen.tuned_at else "every width"
    record.write(
        "language",
        f"1{chosen.suffix}",
        claim=f"{_sizes(chosen.spend)} data and order of batches a separable embedding has fewer bits a byte than a "
        f"tied and an untied table, V = {', '.join(map(str, chosen.vocabularies))}, {_lengths(chosen)}, "
        f"{len(chosen.widths)} sizes",
        measured=[row for row in summary if row["kind"] not in TABLES],
        target=f"fewer bits a byte than both tables at each vocabulary, size and budget; reached at {won} of {places}",
        holds=won == places,
        baselines=[row for row in summary if row["kind"] in TABLES],
        command=COMMAND,
        seeds=list(range(chosen.seeds)),
        spread=f"the column deviation: standard deviation of bits a byte over seeds; tuned at {places_tuned} over "
        f"{len(RATES)} rates with {_tuning(chosen)} of the tokens, on validation loss; of tables the better of whole "
        f"trainings at rates {' and '.join(f'{rate:g}' for rate in TABLE_RATES)} counts, by the test itself"
        + ("; kinds without a row at a size were not trained there" if chosen.only_kept else ""),
        machine=chosen.machine,
    )


def _sizes(spend: Spend) -> str:
    """How kinds compare in size, as a claim begins."""
    if spend == "nothing":
        return "At fewer parameters (the table's transformer, nothing for what is saved) and equal"
    return f"At equal parameters{'' if spend == 'perceptron' else f' (what is saved spent on {spend})'},"


def _lengths(chosen: argparse.Namespace) -> str:
    told = {"tokens": f"{chosen.tokens:g} million tokens", "minutes": f"{chosen.minutes:g} minutes of a processor"}
    return " and ".join(told[budget] for budget in chosen.budgets)


def _record_factors(measured: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    best = [row for row in measured if row["kind"].startswith("generated") and row["equal"] == "tokens"]
    if not best:
        return
    record.write(
        "language",
        f"2{chosen.suffix}",
        claim="A model with a separable embedding is worth one with an untied table and 1.47 to 2.11 times the "
        "parameters (published against a tied table, at V = 200,376 and 200 M to 1.2 B parameters)",
        measured=[row for row in measured if row["kind"] not in TABLES],
        target="a factor of at least 1.47 at equal tokens, at each vocabulary, for one of the separable kinds",
        holds=all(
            max((row["factor"] for row in best if row["V"] == vocabulary), default=0.0) >= 1.47
            for vocabulary in chosen.vocabularies
        ),
        baselines=[row for row in measured if row["kind"] in TABLES],
        command=COMMAND,
        seeds=list(range(chosen.seeds)),
        spread=f"95 % of 2000 resamplings of seeds and sizes; fit over {len(chosen.widths)} sizes",
        machine=chosen.machine,
    )


def _arguments() -> argparse.Namespace:
    spends: tuple[Spend, ...] = ("width", "perceptron", "layers", "nothing")
    usual = {"vocabularies": [8192, 32768], "widths": [64, 96, 128, 192], "seeds": 3, "tokens": Study().tokens}
    usual |= {"minutes": float(MINUTES), "layers": 4, "context": 128, "batch": 32}
    usual |= {"source": Study().source, "folder": Study().folder}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+")
    parser.add_argument("--widths", type=int, nargs="+")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--seeds", type=int)
    parser.add_argument(
        "--seeded", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND", help="not once"
    )
    parser.add_argument("--seeded-widths", type=int, nargs="+", help="of what is not trained once; all by default")
    parser.add_argument("--tuned-at", type=int, default=0, help="the width to tune at; 0 for each")
    parser.add_argument(
        "--tuned-on", nargs=2, metavar=("DEVICE", "PRECISION"), help="to tune in, if others; results must be there"
    )
    parser.add_argument("--warm-up", type=int, default=Study().warm_up, help="steps, of a training by minutes")
    parser.add_argument("--tuning-tokens", type=float, default=0.0, help="millions, to try a rate with; 0 for 15 %%")
    parser.add_argument("--timed-widths", type=int, nargs="+", help="of trainings by minutes; all by default")
    parser.add_argument("--budgets", nargs="+", default=["tokens", "minutes"], choices=["tokens", "minutes"])
    parser.add_argument("--tokens", type=float, help="millions, of a training by tokens")
    parser.add_argument("--minutes", type=float, help="of the processor, of a training by minutes; or MINUTES")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--context", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", default="float32", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--spend", default="perceptron", choices=spends, help="what saved parameters go to")
    parser.add_argument("--source", help="a corpus, see domains.language.corpus")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shared", action="store_true", help="the device was shared, so that no speeds are told")
    parser.add_argument("--machine", default="", help="where it was trained, for records that are written elsewhere")
    parser.add_argument(
        "--beside", nargs=2, metavar=("DEVICE", "PRECISION"), help="another study, whose tables are the baselines"
    )
    parser.add_argument("--seeds-beside", type=int, default=3, help="of that study")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--suffix", default="", help="of the records' numbers, for a study beside the main one")
    parser.add_argument("--share", default="0/1", help="which of how many shares of the sizes and kinds to train")
    parser.add_argument("--only-kept", action="store_true", help="train nothing: records of what is there")
    parser.add_argument("--processes", type=int, default=int(os.environ.get("PROCESSES", "1")), help="or PROCESSES")
    parser.set_defaults(**usual)
    chosen = parser.parse_args()
    chosen.timed_widths = chosen.timed_widths or chosen.widths
    chosen.seeded_widths = chosen.seeded_widths or chosen.widths
    if TRIAL:
        _lessen(chosen)
    return chosen


def _lessen(chosen: argparse.Namespace) -> None:
    """To the sizes of a trial, and to the processor."""
    sizes = {"vocabularies": [512], "widths": [16, 32], "timed_widths": [16], "seeds": 1, "seeds_beside": 1}
    sizes |= {"tokens": 0.0005, "tuning_tokens": 0.0, "minutes": 0.005, "layers": 1, "context": 32, "batch": 4}
    vars(chosen).update(sizes, source="docstrings", device="cpu", tuned_at=min(chosen.tuned_at, 16))
    for place in (chosen.tuned_on, chosen.beside):
        if place:
            place[0] = "cpu"


if __name__ == "__main__":
    main()
