"""Output heads: time of the loss, forwards and backwards, beside a table's, and what sampling costs.

One core. Targets follow Zipf's law, hidden vectors are normal. All heads of a size run by turns in one process; a ratio
is that of medians, to the faster of two tables: torch's linear map and cross entropy on full logits, and our
`TableHead`, which goes by chunks.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks import record
from benchmarks.trial import usual
from separable.sequence.embeddings import TableEmbedding
from separable.sequence.heads import Head, TableHead, head_config

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("low_rank", {"rank": 32}),
    ("hierarchical", {"rank": 256}),
    ("hierarchical", {"rank": 1024}),
    ("product_mixture", {"rank": 1}),
    ("product_mixture", {"rank": 8}),
    ("product_mixture", {"rank": 16}),
    ("adaptive", {}),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of the measurement.

    Args:
        vocabularies: V.
        widths: Features of a hidden vector.
        targets: N of a loss.
        rounds: Turns of all heads, after one that is not counted.
    """

    vocabularies: tuple[int, ...] = (8192, 32768)
    widths: tuple[int, ...] = (128, 256)
    targets: int = 1024
    rounds: int = 9


def seconds_of(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, by turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(kept[1:]) for name, kept in times.items()}


def heads_of(vocabulary: int, width: int) -> dict[str, Head]:
    """The table and what is compared with it."""
    embedding = TableEmbedding(vocabulary, width)
    heads: dict[str, Head] = {"table, in chunks": TableHead(embedding)}
    for kind, settings in KINDS:
        name = ", ".join([kind.replace("_", " "), *(f"{key} {value}" for key, value in settings.items())])
        heads[name] = head_config(kind, **settings).build(width, embedding)
    return heads


def rows_of(vocabulary: int, width: int, settings: Settings) -> list[dict[str, Any]]:
    """Every head at one size, the plain table first."""
    hidden = torch.randn(settings.targets, width, requires_grad=True)
    zipf = 1 / torch.arange(1, vocabulary + 1, dtype=torch.float64)
    targets = torch.multinomial(zipf, settings.targets, replacement=True)
    weights = torch.full((settings.targets,), 1 / settings.targets)
    heads = heads_of(vocabulary, width)
    table = heads["table, in chunks"]

    def trained(head: Head) -> Callable[[], object]:
        inputs = [hidden, *head.parameters()]
        return lambda: torch.autograd.grad(head.weighted_loss(hidden, targets, weights), inputs)

    def plainly() -> tuple[Tensor, ...]:
        logits = table.logits(hidden)
        return torch.autograd.grad(cross_entropy(logits, targets), [hidden, *table.parameters()])

    @torch.no_grad()
    def sampled(head: Head) -> Tensor:
        return head.logits(hidden[:1])

    loss = seconds_of({"table": plainly} | {name: trained(head) for name, head in heads.items()}, settings.rounds)
    logits = seconds_of({name: lambda head=head: sampled(head) for name, head in heads.items()}, 3 * settings.rounds)
    fastest = min(loss["table"], loss["table, in chunks"])
    return [
        {
            "V": vocabulary,
            "width": width,
            "head": name,
            "parameters": heads.get(name, table).n_parameters,
            "loss ms": 1e3 * seconds,
            "ratio to a table": seconds / fastest,
            "logits of one position ms": 1e3 * logits.get(name, logits["table, in chunks"]),
        }
        for name, seconds in loss.items()
    ]


def main() -> None:
    """Print the table and record it."""
    settings = usual(Settings(), trial=Settings((500,), (16,), 64, 2))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measured: list[dict[str, Any]] = []
    for vocabulary in settings.vocabularies:
        for width in settings.widths:
            for row in rows_of(vocabulary, width, settings):
                measured.append(row)
                print("  ".join(f"{name} {_short(value)}" for name, value in row.items()), flush=True)
    tables, others = (
        [row for row in measured if row["head"].startswith("table") == is_table] for is_table in (True, False)
    )
    separable = [row for row in others if row["head"].startswith(("hierarchical", "product"))]
    record.write(
        "language",
        "heads",
        claim="Output heads computed from the codebooks of two digits, exactly normalised and without V times width "
        "numbers: time of the loss forwards and backwards beside a table's",
        measured=others,
        target="every separable head (hierarchical, product mixture) at every size no slower than the faster table",
        holds=max(row["ratio to a table"] for row in separable) <= 1,
        baselines=tables,
        command="python -m benchmarks language_heads",
        seeds=[0],
        spread=f"medians of {settings.rounds} turns of all heads in one process, one thread",
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
