"""Claim 8: a forward and backward step of the factorised layers against the dense torch.nn layers they replace.

One core. Each pair runs interleaved in one process: dense, ours, dense, ours, .. ; the ratio is that of the medians.
Gradients go to the input (where it has one) and to all parameters.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks import record
from benchmarks.trial import usual
from separable.layers import SeparableConvolution, SeparableEmbedding, SeparableLinear


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured pair.

    Args:
        layer: What was compared.
        sizes: Sizes and batch.
        dense_ms: Median time of the dense step, milliseconds.
        ratio: Our median time over the dense one.
        parameters: Our number of parameters over the dense one.
        way: ``factors`` or ``dense first`` where the layer chose.
    """

    layer: str
    sizes: str
    dense_ms: float
    ratio: float
    parameters: float
    way: str


SECONDS = usual(0.5, trial=0.0)  # spent on each pair; five rounds are always done
FEATURES = usual((256, 1024, 4096), trial=(256,))
TABLES = usual(((10_000, 256), (50_257, 512)), trial=((10_000, 256),))  # tokens and their features
GRIDS = usual((64, 128), trial=(16,))  # of convolutions
LINEAR = (  # factorisation, and its ranks at 256, 1024 and 4096 features
    ("canonical_polyadic", {256: (16, 64), 1024: (64, 256), 4096: (256, 1024)}),
    ("tucker", {256: (4, 8), 1024: (8, 16), 4096: (16, 32)}),
    ("tensor_train", {256: (4, 8), 1024: (4, 8), 4096: (8, 16)}),
)


def measure(dense: Callable[[], None], ours: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Median seconds of either step, interleaved until the time is over (at least five rounds)."""
    times: tuple[list[float], list[float]] = ([], [])
    dense(), ours()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for step, kept in zip((dense, ours), times, strict=True):
            start = time.perf_counter()
            step()
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """One forward and backward pass."""
    inputs = [*module.parameters(), *([x] if x.requires_grad else [])]
    with torch.no_grad():
        weight = torch.randn_like(module(x))

    def run() -> None:
        torch.autograd.grad(module(x), inputs, weight)

    return run


def compare(layer: str, sizes: str, dense: nn.Module, ours: nn.Module, x: Tensor, way: str, seconds: float) -> Row:
    """Measure one pair."""
    first, second = measure(step(dense, x), step(ours, x), seconds)
    count = [sum(p.numel() for p in module.parameters()) for module in (dense, ours)]
    return Row(layer, sizes, 1e3 * first, second / first, count[1] / count[0], way)


def linear_rows(seconds: float, features: tuple[int, ...] = FEATURES) -> Iterator[Row]:
    """SeparableLinear at batches of 64 and 1024."""
    for size in features:
        dense = nn.Linear(size, size)
        for batch in (64, 1024):
            x = torch.randn(batch, size, requires_grad=True)
            for kind, ranks in LINEAR:
                for rank in ranks[size]:
                    ours = SeparableLinear(size, size, factorisation=kind, rank=rank)  # type: ignore[arg-type]
                    way = "dense first" if ours.matrix.prefers_dense(batch) else "factors"
                    sizes = f"{size} -> {size}, batch {batch}, rank {rank}"
                    yield compare(f"linear {kind}", sizes, dense, ours, x, way, seconds)


def embedding_rows(seconds: float) -> Iterator[Row]:
    """SeparableEmbedding with gradients of the whole table, as dense training has them."""
    for tokens, features in TABLES:
        dense = nn.Embedding(tokens, features)
        for batch in (1024, 8192):
            index = torch.randint(tokens, (batch,))
            for kind, rank in (("canonical_polyadic", 64), ("tucker", (16, 16, 8, 8)), ("tensor_train", 16)):
                ours = SeparableEmbedding(tokens, features, factorisation=kind, rank=rank)  # type: ignore[arg-type]
                sizes = f"{tokens} x {features}, batch {batch}, rank {rank}"
                way = "dense first" if ours.matrix.prefers_dense_rows(batch) else "factors"
                yield compare(f"embedding {kind}", sizes, dense, ours, index, way, seconds)


def convolution_rows(seconds: float) -> Iterator[Row]:
    """SeparableConvolution against a dense circular convolution of the same reach."""
    for channels, rank in ((1, 8), (8, 16), (16, 32)):
        for grid in GRIDS:
            for taps in (3, 7, 15):
                dense = nn.Conv2d(channels, channels, taps, padding=taps // 2, padding_mode="circular")
                ours = SeparableConvolution(channels, channels, rank, kernel_size=taps)
                x = torch.randn(4, channels, grid, grid, requires_grad=True)
                sizes = f"{channels} channels, {grid}^2, batch 4, {taps} taps, rank {rank}"
                yield compare("convolution", sizes, dense, ours, x, "", seconds)


def rows(seconds: float = 1.0) -> Iterator[Row]:
    """Every pair, in the order of the table."""
    yield from linear_rows(seconds)
    yield from embedding_rows(seconds)
    yield from convolution_rows(seconds)


def promised(row: Row) -> bool:
    """Whether the docstring of SeparableLinear promises at most 1.5 times the dense time for this row."""
    return row.layer.startswith("linear") and (row.layer, row.sizes[:4], row.sizes[-6:]) != (
        "linear tensor_train",
        "256 ",
        "rank 8",
    )


def main(seconds: float = SECONDS) -> None:
    """Print the table and record it.

    Args:
        seconds: Time spent on each pair.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'layer':28} {'sizes':52} {'dense ms':>9} {'ratio':>6} {'parameters':>10}  way")
    measured = []
    for row in rows(seconds):
        measured.append(row)
        print(
            f"{row.layer:28} {row.sizes:52} {row.dense_ms:9.3f} {row.ratio:6.2f} {row.parameters:10.4f}  {row.way}",
            flush=True,
        )
    worst = max(row.ratio for row in measured if promised(row))
    record.write(
        "library",
        "8",
        claim="SeparableLinear in place of torch.nn.Linear: time of a forward and backward step, and parameters",
        measured=[dataclasses.asdict(row) for row in measured],
        target="at most 1.5 times the dense time at every size and rank that the docstring of SeparableLinear promises "
        "(all linear rows but the tensor train of rank 8 at 256 features)",
        holds=worst <= 1.5,
        baselines="torch.nn.Linear, Embedding and circular Conv2d, interleaved in the same process (column dense_ms)",
        command="python -m benchmarks library_layers",
        seeds=[0],
        spread="medians of interleaved repetitions, at least five of each; repeats differ by up to 0.2",
    )


if __name__ == "__main__":
    main()
