"""What benchmarks of distillation share: the text, the family of models, how many steps fit into the minutes."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import torch

from benchmarks.kept import kept, kept_path
from domains.language.corpus import CorpusConfig
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.students import sized
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import LanguageConfig, build
from separable.sequence import TransformerConfig
from separable.training import TrainingConfig, run_training
from separable.training.claims import claimed

MINUTES, TRIAL = float(os.environ.get("MINUTES", "10")), bool(os.environ.get("TRIAL"))
SEEDS = 1 if TRIAL else int(os.environ.get("SEEDS", "3"))
CONTEXT, BATCH = (32, 4) if TRIAL else (128, 16)
KIND = "trial" if TRIAL else f"minutes_{MINUTES:g}"
TIMED = 3  # steps, after one that is not counted


def text(vocabulary: int = 257) -> Tokens:
    """The sources of Python's standard library; in a trial its documentation strings."""
    source = "docstrings" if TRIAL else "standard_library"
    folder = Path(f"runs/benchmarks/language/{source}_{vocabulary}")
    config = TokenizeConfig(CorpusConfig(source), vocabulary=vocabulary)
    return Tokens(write_tokens(folder, config, progress=False))


def family(steps: int) -> LanguageConfig:
    """Models of heads of 16 features and four layers, over bytes, with one table."""
    training = TrainingConfig(
        steps=steps, batch=BATCH, rate=3e-3, warm_up=min(100, steps // 10), evaluate_every=max(1, steps // 10)
    )
    windows = 4 if TRIAL else 128
    return LanguageConfig(
        TransformerConfig(width=64, layers=4, heads=4), "table", "table:tied=true", CONTEXT, windows, training
    )


def lesson_after(teacher: LanguageConfig) -> DistillationConfig:
    """How its students are taught: half as many steps, at a third of the rate."""
    half = max(2, teacher.training.steps // 2)
    training = dataclasses.replace(
        teacher.training, steps=half, rate=1e-3, warm_up=half // 10, evaluate_every=max(1, half // 10)
    )
    return DistillationConfig(
        context=CONTEXT,
        validation_windows=teacher.validation_windows,
        calibration=2 if TRIAL else 32,
        training=training,
    )


def steps_in_minutes(folder: Path, tokens: Tokens, config: LanguageConfig, size: int, minutes: float) -> int:
    """Steps that a model of a size makes in some minutes on one thread; timed once, and kept with the results."""
    if TRIAL:
        return 4

    def seconds() -> dict[str, float]:
        model = build(tokens, sized(config, tokens.vocabulary, size))
        stream = WindowStream(tokens.part("train"), CONTEXT)
        spent = []
        for steps in (1, 1 + TIMED):
            settings = TrainingConfig(steps=steps, batch=BATCH, evaluate_every=10**6)
            started = time.process_time()
            run_training(model, lambda m, batch: m.loss(*batch), stream, settings, progress=False)
            spent.append(time.process_time() - started)
        return {"seconds": (spent[1] - spent[0]) / TIMED}

    torch.set_num_threads(1)
    path = kept_path(folder / "timed", json.dumps([size, CONTEXT, BATCH]))
    while not path.exists():  # one process times it, so that all make as many steps
        with claimed(folder / "timed") as mine:
            if mine:
                kept(path, seconds)
            else:
                time.sleep(1)
    each = kept(path, seconds)["seconds"]
    return max(100, round(60 * minutes / each))
