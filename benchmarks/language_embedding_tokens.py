"""Item 1c: does a generated embedding gain on tables, or lose, as tokens become more?

The setting of `language_embeddings` at one vocabulary and width, for some kinds and numbers of tokens. Every kind has
the rate that was best for it in a tuning with `TUNING` of the least number of tokens.

    PROCESSES=2 python -m benchmarks.language_embedding_tokens [--tokens 0.5 1 2] [--seeds 1]
    TRIAL=1 python -m benchmarks.language_embedding_tokens              tries that it runs, and writes no record
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import statistics
import sys
from typing import Any

from benchmarks import record
from benchmarks.embedding_cells import BASELINE, RATES, TIED, TRIAL, TUNING, Study, results, trials, tuned

KINDS = (BASELINE, TIED, "Leviathan, published recipe", "generated", "generated and frequent")
SEPARABLE = KINDS[3:]
COMMAND = " ".join(["python -m benchmarks.language_embedding_tokens", shlex.join(sys.argv[1:])]).strip()


def main() -> None:
    """Tune, train, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=float, nargs="+", default=[0.0005, 0.001] if TRIAL else [0.5, 1.0, 2.0])
    parser.add_argument("--vocabulary", type=int, default=512 if TRIAL else 8192)
    parser.add_argument("--width", type=int, default=16 if TRIAL else 64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="bfloat16", choices=["auto", "float32", "bfloat16"])
    chosen = parser.parse_args()
    small = {"layers": 1, "context": 32, "batch": 4, "source": "docstrings"} if TRIAL else {"batch": 8}
    least = Study(tokens=min(chosen.tokens), precision=chosen.precision, tuned_at=chosen.width, **small)  # type: ignore[arg-type]
    size, processes = (chosen.vocabulary, chosen.width), int(os.environ.get("PROCESSES", "1"))
    least.text(chosen.vocabulary)  # written once, not by each process
    results([trial for kind in KINDS for trial in trials(least, *size, kind)], processes)
    cells = [
        dataclasses.replace(cell, study=dataclasses.replace(least, tokens=tokens))
        for seed in range(chosen.seeds)
        for tokens in sorted(chosen.tokens)
        for cell in (tuned(least, *size, kind, seed, "tokens") for kind in KINDS)
        if cell is not None
    ]
    rows = [{**row, "tokens": cell.study.tokens} for cell, row in zip(cells, results(cells, processes), strict=True)]
    table = [_row(kind, rows, sorted(chosen.tokens)) for kind in KINDS]
    for told in table:
        print(told)
    if TRIAL:
        return
    ahead = [_ahead(rows, tokens) for tokens in sorted(chosen.tokens)]
    record.write(
        "language",
        "1c",
        claim=f"V = {size[0]}, width {size[1]}, {rows[0]['parameters'] / 1e6:.1f} M parameters: the best generated "
        "embedding has "
        + ", ".join(f"{bits:+.3f} with {tokens:g} M" for bits, tokens in zip(ahead, sorted(chosen.tokens), strict=True))
        + " tokens, in bits a byte beside the better table",
        measured=[row for row in table if row["kind"] not in (BASELINE, TIED)],
        target="fewer bits a byte than both tables with the most tokens",
        holds=ahead[-1] < 0,
        baselines=[row for row in table if row["kind"] in (BASELINE, TIED)],
        command=COMMAND,
        seeds=list(range(chosen.seeds)),
        spread=f"{'one seed' if chosen.seeds == 1 else 'means over seeds'}; each kind tuned over {len(RATES)} rates "
        f"with {TUNING:.0%} of the fewest tokens; rare are the ranks of the last column",
    )


def _row(kind: str, rows: list[dict[str, Any]], counts: list[float]) -> dict[str, Any]:
    mine = [row for row in rows if row["kind"] == kind]
    told: dict[str, Any] = {"kind": kind, "rate": mine[0]["rate"], "parameters": mine[0]["parameters"]}
    for count in counts:
        told[f"bits a byte, {count:g} M tokens"] = _mean(mine, count)
    *_, rare = mine[0]["bands"]
    for count in counts:
        of_rare = [row["bands"].get(rare, float("nan")) for row in mine if row["tokens"] == count]
        told[f"nats, ranks {rare}, {count:g} M"] = statistics.mean(of_rare)
    return told


def _ahead(rows: list[dict[str, Any]], count: float) -> float:
    bits = {kind: _mean([row for row in rows if row["kind"] == kind], count) for kind in KINDS}
    return min(bits[kind] for kind in SEPARABLE) - min(bits[BASELINE], bits[TIED])


def _mean(rows: list[dict[str, Any]], count: float) -> float:
    return statistics.mean(row["bits_per_byte"] for row in rows if row["tokens"] == count)


if __name__ == "__main__":
    main()
