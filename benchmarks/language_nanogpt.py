"""Item 4: training throughput of our loop beside a plain PyTorch loop of nanoGPT's kind, by turns.

The plain side is written here, and is nothing but torch: GPT-2's architecture (learned positions, LayerNorm, GELU, tied
table, fused attention), random crops of the same tokens, AdamW with two groups, clipping, a cosine, and no checkpoint,
record or resume. Both have the same width, layers, heads, context and batch, and nearly the same number of parameters.
Each side has a process of its own, so that none changes how memory is kept for another. Each round trains one side and
then the others for some steps; the first round is not counted. Ours is timed over its steps, with all their checks, and
without a run folder: the plain side writes nothing either. The plain loop stands there again as it is within
`memory_kept`, as ours is: what it would gain.

    python -m benchmarks.language_nanogpt
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import record
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import LanguageConfig, build
from separable.sequence import LanguageModel, TransformerConfig
from separable.training import TrainingConfig, run_training
from separable.training.allocation import memory_kept

FOLDER = STUDIES / "language"
SOURCE = usual("standard_library", trial="docstrings")
PLAIN = "plain loop, GPT-2"


@dataclasses.dataclass(frozen=True)
class Size:
    """What both sides share."""

    width: int = 256
    layers: int = 4
    heads: int = 4
    context: int = 256
    batch: int = 16
    vocabulary: int = 4096
    steps: int = 6
    rounds: int = 7


class PlainBlock(nn.Module):
    """One layer of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.projections = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        batch, length, width = x.shape
        q, k, v = self.projections(self.first_norm(x)).split(width, 2)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.second_norm(x))))


class PlainGPT(nn.Module):
    """GPT-2 with a tied table."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(PlainBlock(size.width, size.heads) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                ends = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * size.layers) if ends else 0.02)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats."""
        x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1], device=inputs.device))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class PlainLoop:
    """The loop, with what it keeps from step to step."""

    def __init__(self, size: Size, folder: Path, device: str, kept: bool = False) -> None:
        torch.manual_seed(0)
        part = Tokens(folder).part("train")
        self.data = part.read(0, min(len(part), 10_000_000)).astype(np.uint16)
        self.size, self.steps, self.device, self.kept = size, size.steps * size.rounds, device, kept
        self.model = PlainGPT(size).to(device)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
        self.step = 0

    def train(self) -> float:
        """Some steps; returns seconds."""
        if not self.kept:
            return self._trained()
        with memory_kept():
            return self._trained()

    def _trained(self) -> float:
        started = time.perf_counter()
        for _ in range(self.size.steps):
            rate = 1e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.steps))))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            starts = torch.randint(len(self.data) - self.size.context - 1, (self.size.batch,)).tolist()
            crops = [self.data[start : start + self.size.context + 1].astype(np.int64) for start in starts]
            crop = torch.from_numpy(np.stack(crops)).to(self.device)
            loss = self.model(crop[:, :-1], crop[:, 1:])
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
        loss.item()  # wait for the device
        return time.perf_counter() - started


class OurLoop:
    """`run_training` for as many steps at a time, over the same model and stream."""

    def __init__(self, size: Size, folder: Path, device: str, embedding: str, head: str) -> None:
        tokens = Tokens(folder)
        transformer = TransformerConfig(width=size.width, layers=size.layers, heads=size.heads)
        training = TrainingConfig(steps=size.steps, batch=size.batch, rate=1e-3, warm_up=0)
        self.config = LanguageConfig(transformer, embedding, head, size.context, training=training)
        self.model = build(tokens, self.config)
        self.stream = WindowStream(tokens.part("train"), size.context)
        self.device = device

    def train(self) -> float:
        """Some steps; returns seconds."""

        def loss(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
            return model.loss(*batch)

        settings = {"device": self.device, "progress": False}
        return run_training(self.model, loss, self.stream, self.config.training, **settings).seconds


class Alone:
    """A loop in a process of its own, made there."""

    def __init__(self, made: Callable[..., PlainLoop | OurLoop], *arguments: Any) -> None:
        threads = torch.get_num_threads()
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (threads, made, arguments))
        self.parameters: int = self.pool.submit(_parameters).result()

    def train(self) -> float:
        """Some steps; returns seconds."""
        return self.pool.submit(_train).result()


_loops: list[PlainLoop | OurLoop] = []  # of this process, one


def _begin(threads: int, made: Callable[..., PlainLoop | OurLoop], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    _loops.append(made(*arguments))


def _parameters() -> int:
    return sum(parameter.numel() for parameter in _loops[0].model.parameters())


def _train() -> float:
    return _loops[0].train()


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    size = usual(Size(), trial=Size(32, 2, 2, 32, 4, 512, 3, 3))
    small = usual("generated", trial="generated:seed_dim=8,heads=1,knots=4,rank=4")
    config = TokenizeConfig(CorpusConfig(SOURCE), vocabulary=size.vocabulary)
    folder = write_tokens(FOLDER / f"{SOURCE}_{size.vocabulary}", config)
    sides = {
        PLAIN: Alone(PlainLoop, size, folder, chosen.device),
        f"{PLAIN}, memory kept": Alone(PlainLoop, size, folder, chosen.device, True),
        "ours, tied table": Alone(OurLoop, size, folder, chosen.device, "table", "table:tied=true"),
        "ours, generated embedding": Alone(OurLoop, size, folder, chosen.device, small, "table:tied=false"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(size.rounds):
        for name, side in sides.items():
            seconds[name].append(side.train())
    units = size.steps * size.batch * size.context
    plain, plain_kept, *ours = (
        {
            "side": name,
            "parameters": side.parameters,
            "tokens per second": units / statistics.median(seconds[name][1:]),
            "ratio to the plain loop": statistics.median(_ratios(seconds, name)),
            "ratio, least and greatest": f"{min(_ratios(seconds, name)):.2f} to {max(_ratios(seconds, name)):.2f}",
        }
        for name, side in sides.items()
    )
    for row in (plain, plain_kept, *ours):
        print(row)
    record.write(
        "language",
        "4",
        claim="Our training loop, checks and all, trains a model of equal size at least as fast as a plain PyTorch "
        f"loop ({size.layers} layers of width {size.width}, V = {size.vocabulary}, {size.batch} "
        f"windows of {size.context}, {torch.get_num_threads()} threads)",
        measured=ours,
        target="ratio of tokens per second, tied table on both sides, of 1 or more",
        holds=ours[0]["ratio to the plain loop"] >= 1,
        baselines=[plain, plain_kept],
        command=f"OMP_NUM_THREADS={torch.get_num_threads()} python -m benchmarks.language_nanogpt",
        seeds=[0],
        spread=f"{size.rounds - 1} rounds of {size.steps} steps a side, by turns; medians, least and greatest",
    )


def _ratios(seconds: dict[str, list[float]], name: str) -> list[float]:
    """Speed beside the plain loop in the same round, without the first."""
    plain = seconds[PLAIN]
    return [theirs / mine for theirs, mine in zip(plain[1:], seconds[name][1:], strict=True)]


if __name__ == "__main__":
    main()
