"""A small language model trained on the installed Python's documentation, beside what counting its tokens knows.

The counts give two models to compare with: how often each token comes, p(b), and which token follows which,

    p(b | a) = (c(a, b) + d(a) p(b)) / (c(a) + d(a))        c counts in the training part, d(a) different followers of a

(Witten and Bell, 1991, IEEE Transactions on Information Theory 37, 1085), a table of V^2 numbers.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.generate import continued
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig

Array = np.ndarray[Any, Any]
CONTEXT = 64
WINDOWS = 300  # of the test part that are measured
BEGINNINGS = ("Return the", "If the", "This is a")  # a word's space belongs to its first token


def settings(steps: int) -> LanguageConfig:
    """Of a model and its training of so many steps."""
    return LanguageConfig(
        TransformerConfig(width=96, layers=2, heads=4),
        embedding="generated:rank=32",
        context=CONTEXT,
        validation_windows=32,
        training=TrainingConfig(steps=steps, batch=16, rate=5e-3, warm_up=20, evaluate_every=max(1, steps // 6)),
    )


def demonstration(
    steps: int = 200, source: str = "docstrings", vocabulary: int = 1024
) -> tuple[list[dict[str, Any]], dict[str, float], list[str], Any]:
    """Make tokens of a text, train on them, measure, write on.

    Args:
        steps: of the training.
        source: of the text; by default the documentation strings of the standard library.
        vocabulary: number V of tokens, byte pairs and the end of a document.

    Returns:
        A row for each model with its size and the bits that a byte of unseen files costs; numbers by name; what the
        model makes of some beginnings; and a matplotlib Figure of the training.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        made_from = TokenizeConfig(CorpusConfig(source), vocabulary=vocabulary, training_text=0.3)
        tokens = Tokens(write_tokens(place / "tokens", made_from, progress=False))
        config = settings(steps)
        run = RunFolder(place / "run", config, config.training.seed)
        model, result = train(tokens, config, run=run, samples=False, progress=False)
        windows = evenly(len(tokens.part("test")), CONTEXT, WINDOWS)
        scores = evaluate(model, tokens, "test", CONTEXT, windows)
        counted = counted_bits(tokens, windows, CONTEXT)
        sizes = {
            "all bytes alike": (0, 8.0),
            "how often each token comes": (vocabulary, counted[0]),
            "which token follows which": (vocabulary**2, counted[1]),
            f"transformer after {result.steps} steps": (model.n_parameters, scores.bits_per_byte),
        }
        rows = [{"model": name, "numbers": size, "bits a byte": bits} for name, (size, bits) in sizes.items()]
        numbers = {
            "bytes to train on": float(tokens.part("train").bytes),
            "files to train on": float(tokens.part("train").documents),
            "parameters": float(model.n_parameters),
            "seconds to train": result.seconds,
            "nats a token": scores.nats_per_token,
        }
        written = [
            start + "".join(continued(model, tokens.tokeniser, start, steps=50, temperature=0.6, seed=seed))
            for seed, start in enumerate(BEGINNINGS)
        ]
        return rows, numbers, written, _figure(run.metrics())


def counted_bits(tokens: Tokens, windows: Array, context: int) -> tuple[float, float]:
    """Bits a byte of the targets of some test windows, by the counts of single tokens and of pairs.

    Args:
        tokens: whose training part is counted.
        windows: starts of windows in the test part.
        context: targets of a window.
    """
    size = tokens.vocabulary
    seen = tokens.part("train").read(0, len(tokens.part("train")))
    pairs = np.bincount(seen[:-1] * size + seen[1:], minlength=size**2).reshape(size, size)
    single = np.bincount(seen, minlength=size) + 1.0  # a token that was never seen is possible
    single /= single.sum()
    followers = (pairs > 0).sum(1)
    before, after = (part.numpy().ravel() for part in tokens.part("test").windows(windows, context))
    alone = single[after]
    weight = followers[before]
    total = pairs.sum(1)[before] + weight
    together = np.where(total > 0, (pairs[before, after] + weight * alone) / np.maximum(total, 1), alone)
    length = int(tokens.lengths()[after].sum())
    one, two = (-float(np.log(chances).sum()) / math.log(2) / length for chances in (alone, together))
    return one, two


def _figure(lines: list[dict[str, Any]]) -> Any:
    """Loss of the batches and of the validation windows over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    losses = [line for line in lines if "loss" in line]
    looks = [line for line in lines if "scores" in line]
    axis.plot([line["step"] for line in losses], [line["loss"] for line in losses], alpha=0.6, label="training batches")
    axis.plot(
        [line["step"] for line in looks],
        [line["scores"]["validation_loss"] for line in looks],
        "o-",
        label="files that are not trained on",
    )
    axis.set_xlabel("step")
    axis.set_ylabel("nats a token")
    axis.set_title("Learning to write Python's documentation", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure
