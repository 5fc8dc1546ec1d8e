"""How cost grows: processor time of the main steps over N, D, R, V and grid size, and a projection held to a test.

Times t are fitted by powers, t = c s^p, over sizes s that double, the largest left out; the fit then says what the
largest, up to twice the greatest that it saw, costs, and that is measured too. Smaller sizes than these are ruled by
fixed costs and fit into caches, so powers hold for the stated sizes only. Of a cluster the page says what binds
first: P processes, each with rows of its own, that average gradients by a ring all-reduce need a step of

    t(P) = t_compute + 2 (P - 1) / P * 4 n / bandwidth        seconds, for n parameters in float32

and the second term depends neither on P, if it is large, nor on the rows.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import separable
from benchmarks import record
from benchmarks.trial import usual
from domains.turbulence.flows import KolmogorovFlow
from domains.turbulence.grid import Grid
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

REPETITIONS, SIZES = usual((2, 4), trial=(1, 3))  # of a step, of a sweep
TOKENS = 512  # of a step of a language model
BANDWIDTH = 1.25e9  # bytes a second of a 10 gigabit network, which the projection assumes
Step = Callable[[], object]


def fit_of(rows: int, coordinates: int, rank: int, batch: int = 65_536) -> Step:
    """Three sweeps of alternating least squares; more rows than a batch holds are streamed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, coordinates, generator=generator, dtype=torch.float64)
    y = torch.sin(3 * x).prod(1, keepdim=True) + x.sum(1, keepdim=True)

    def step() -> object:
        torch.manual_seed(0)
        layer = SeparableLayer(coordinates, 1, atoms=BSpline(8), interaction=CanonicalPolyadic(rank)).double()
        settings = {"rank_growth": False, "max_steps": 3, "batch_size": batch}
        return separable.fit(layer, x, y, method="alternating_least_squares", **settings)

    return step


def grid_of(points: int) -> Step:
    """Values of a layer of rank 8 on a full grid of three axes."""
    layer = SeparableLayer(3, 1, atoms=BSpline(8), interaction=CanonicalPolyadic(8))
    axes = [torch.linspace(0, 1, points)] * 3

    def step() -> object:
        with torch.no_grad():
            return layer.on_grid(axes)

    return step


def language_model(vocabulary: int, embedding: str) -> LanguageModel:
    """A small transformer over so many tokens."""
    sizes = TransformerConfig(width=64, layers=2, heads=2)
    config = LanguageModelConfig(
        vocabulary, sizes, embedding_config(kind=embedding), head_config(kind="table", tied=False)
    )
    return LanguageModel(config, torch.Generator().manual_seed(0))


def language_of(vocabulary: int, embedding: str) -> Step:
    """Loss and gradients of a small transformer on `TOKENS` tokens."""
    model = language_model(vocabulary, embedding)
    tokens = torch.randint(vocabulary, (8, TOKENS // 8 + 1), generator=torch.Generator().manual_seed(1))

    def step() -> object:
        model.zero_grad(set_to_none=True)
        return model.loss(tokens[:, :-1], tokens[:, 1:]).backward()  # type: ignore[no-untyped-call]

    return step


def flow_of(points: int) -> Step:
    """Advection and force of two-dimensional turbulence on a square grid, four members."""
    grid, flow = Grid((points, points)), KolmogorovFlow()
    change = flow.nonlinear(grid, torch.float32, torch.device("cpu"))
    state = grid.coefficients(flow.random_start(grid, range(4)).float())
    return lambda: change(state)


VOCABULARIES = (4_096, 8_192, 16_384, 32_768)
SWEEPS: dict[str, tuple[Callable[[int], Step], tuple[int, ...]]] = {
    "fit over N rows in one batch (D = 4, R = 4)": (lambda size: fit_of(size, 4, 4), (8_000, 16_000, 32_000, 64_000)),
    "fit over N rows in batches of 8000": (lambda size: fit_of(size, 4, 4, 8_000), (16_000, 32_000, 64_000, 128_000)),
    "fit over D coordinates (N = 4000, R = 4)": (lambda size: fit_of(4_000, size, 4), (8, 16, 32, 64)),
    "fit over rank R (N = 4000, D = 4)": (lambda size: fit_of(4_000, 4, size), (8, 16, 32, 64)),
    "values on a full grid over points an axis (D = 3)": (grid_of, (128, 160, 192, 256)),
    "language step over V, vectors from a table": (lambda size: language_of(size, "table"), VOCABULARIES),
    "language step over V, vectors computed": (lambda size: language_of(size, "generated"), VOCABULARIES),
    "flow over points an axis": (flow_of, (128, 256, 512, 1_024)),
}


def seconds(step: Step) -> float:
    """Processor time of a step, the least of some repetitions after one that warms up."""
    step()
    times = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


def power(sizes: tuple[int, ...], times: list[float]) -> tuple[float, float]:
    """Factor and exponent of t = c s^p, by least squares of logarithms."""
    exponent, logarithm = np.polyfit(np.log(sizes), np.log(times), 1)
    return float(np.exp(logarithm)), float(exponent)


def row(name: str) -> dict[str, Any]:
    """Times over a sweep, the power that they follow, and the largest size beside what the power said."""
    make, sizes = SWEEPS[name][0], SWEEPS[name][1][:SIZES]
    times = [seconds(make(size)) for size in sizes]
    factor, exponent = power(sizes[:-1], times[:-1])
    foretold = factor * sizes[-1] ** exponent
    print(f"{name}: power {exponent:.2f}, {sizes[-1]} foretold {foretold:.3g} s, took {times[-1]:.3g} s", flush=True)
    return {
        "what grows": name,
        "sizes": ", ".join(f"{size}" for size in sizes),
        "milliseconds": ", ".join(f"{1e3 * found:.3g}" for found in times),
        "power": round(exponent, 2),
        "largest, by the power": round(1e3 * foretold, 1),
        "largest, measured": round(1e3 * times[-1], 1),
    }


def cluster(vocabulary: int = 32_768) -> list[dict[str, object]]:
    """What processes that average gradients spend on sending, with `TOKENS` tokens each."""
    rows: list[dict[str, object]] = []
    for embedding in ("table", "generated"):
        parameters = sum(p.numel() for p in language_model(vocabulary, embedding).parameters())
        computing = seconds(language_of(vocabulary, embedding))
        sending = 2 * 4 * parameters / BANDWIDTH
        rows.append(
            {
                "what grows": f"processes, V = {vocabulary}, embedding {embedding}",
                "sizes": f"{parameters} parameters",
                "milliseconds": f"{1e3 * computing:.0f} of computing, {1e3 * sending:.0f} of sending at 10 Gbit/s",
                "share of a step that many processes spend on sending": round(sending / (sending + computing), 2),
                "tokens a process below which the network binds": round(TOKENS * sending / computing),
            }
        )
    return rows


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    rows = [row(name) for name in SWEEPS]
    ratios = [found["largest, measured"] / found["largest, by the power"] for found in rows]
    misses = [max(ratio, 1 / ratio) for ratio in ratios]
    steepest = max(found["power"] for found in rows[:3])
    record.write(
        "front_door",
        "scaling",
        claim=f"A fit grows with N and D by a power of at most {steepest:.2f}; what small sizes foretell of a "
        f"size up to twice as large is off by a factor of at most {max(misses):.2f}",
        measured=rows,
        target="powers of at most 1.2 in N and D; projections within a factor of 2",
        holds=steepest <= 1.2 and max(misses) <= 2,
        baselines=cluster(),
        command="python -m benchmarks.front_door_scaling",
        seeds=[0],
        spread=f"processor time on one thread, least of {REPETITIONS}",
    )
    record.publish()


if __name__ == "__main__":
    main()
