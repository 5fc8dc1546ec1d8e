"""What benchmarks of distillation share: the text, the family of models, how many steps fit into the minutes."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import torch

from benchmarks.kept import kept, kept_path
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import CorpusConfig
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.students import sized
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import LanguageConfig, build
from separable.sequence import TransformerConfig
from separable.training import TrainingConfig, run_training
from separable.training.claims import claimed

MINUTES = usual(float(os.environ.get("MINUTES", "10")), trial=0.0)
SEEDS = usual(int(os.environ.get("SEEDS", "3")), trial=1)
TEXTS, CORPUS = usual(  # a trial has a folder of its own, as its test is shorter than that of others
    (STUDIES / "language", CorpusConfig("standard_library")),
    trial=(STUDIES / "teaching", CorpusConfig("docstrings", test=0.01)),
)
CONTEXT, BATCH, LAYERS = usual((128, 16, 4), trial=(32, 4, 2))
WINDOWS, CALIBRATION = usual((128, 32), trial=(4, 2))
KIND = f"minutes_{MINUTES:g}"
TIMED = 3  # steps, after one that is not counted
LEAST = usual(100, trial=4)  # steps of a teacher


def text(vocabulary: int = 257) -> Tokens:
    """The sources of Python's standard library; in a trial its documentation strings."""
    config = TokenizeConfig(CORPUS, vocabulary=vocabulary)
    return Tokens(write_tokens(TEXTS / f"{CORPUS.source}_{vocabulary}", config, progress=False))


def family(steps: int) -> LanguageConfig:
    """Models of heads of 16 features and four layers, over bytes, with one table."""
    training = TrainingConfig(
        steps=steps, batch=BATCH, rate=3e-3, warm_up=min(100, steps // 10), evaluate_every=max(1, steps // 10)
    )
    return LanguageConfig(
        TransformerConfig(width=64, layers=LAYERS, heads=4), "table", "table:tied=true", CONTEXT, WINDOWS, training
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
        calibration=CALIBRATION,
        training=training,
    )


def steps_in_minutes(folder: Path, tokens: Tokens, config: LanguageConfig, size: int, minutes: float) -> int:
    """Steps that a model of a size makes in some minutes on one thread; timed once, and kept with the results."""

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
    return max(LEAST, round(60 * minutes / each))
