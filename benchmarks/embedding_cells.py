"""Language models that differ in embedding and head, each trained alone and kept: what `language_embeddings` compares.

At each vocabulary and width all kinds have as many parameters as the untied table, as near as the width of the
perceptrons (or the number of layers) allows, and see the same batches in the same order. Every kind is tuned with equal
care: at each vocabulary the rates `RATES` are tried with a share of the tokens, on a seed of its own, at each width or
at one of them for all, and the one with the lowest validation loss is taken. Final scores are of the test part. Tables,
by which the others are measured, get more: whole trainings at `TABLE_RATES`, of which the best on the test counts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.kept import kept, kept_path
from benchmarks.trial import STUDIES, usual
from domains.language.compare import Spend, equalised, parameters
from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig

# of generators
SIZES = usual("seed_dim=64,heads=4,knots=8,rank=32", trial="seed_dim=8,heads=1,knots=4,rank=4")
PUBLISHED = "seed_dim=128,heads=8,knots=16,rank=64"  # 1.2 million and more: not where a table has fewer
RANK, FREQUENT = usual((32, 512), trial=(4, 16))
BASELINE, TIED = "table, untied", "table, tied"
KINDS = {
    BASELINE: ("table", "table:tied=false"),
    TIED: ("table", "table:tied=true"),
    "low rank (ALBERT)": (f"low_rank:rank={RANK}", "table:tied=false"),
    "low rank, embedding and head": (f"low_rank:rank={RANK}", "low_rank"),
    "tensor train": (f"tensor_train:rank={usual(16, trial=4)}", "table:tied=false"),
    "hashed": (f"hashed:buckets={usual(1024, trial=32)}", "table:tied=false"),
    "Leviathan, published recipe": (f"leviathan:{SIZES}", "table:tied=false"),
    "Leviathan, published sizes": (f"leviathan:{PUBLISHED}", "table:tied=false"),
    "generated": (f"generated:{SIZES}", "table:tied=false"),
    "generated and frequent": (f"generated:{SIZES},frequent={FREQUENT}", "table:tied=false"),
    "generated, low-rank head": (f"generated:{SIZES}", f"low_rank:rank={RANK}"),
    "generated, hierarchical head": (f"generated:{SIZES}", f"hierarchical:rank={usual(256, trial=16)}"),
    "generated, product-mixture head": (f"generated:{SIZES}", f"product_mixture:rank={usual(8, trial=1)}"),
    "generated, adaptive head": (f"generated:{SIZES}", "adaptive"),
}
RATES = usual((2e-3, 4e-3, 8e-3, 1.6e-2), trial=(4e-3,))
TABLE_RATES = usual((4e-3, 8e-3), trial=(4e-3,))
TUNING, TUNING_SEED = 0.15, 100  # share of the tokens, and a seed that no final training has
EVALUATIONS = usual(5, trial=1)  # of a training, evenly; a tuning has one
WINDOWS, TUNING_WINDOWS = usual((1000, 200), trial=(20, 20))  # of the part that a model is measured on

Budget = Literal["tuning", "tokens", "minutes"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Study:
    """What all trainings have in common.

    Attributes:
        folder: that results are kept in.
        source: a corpus, see `domains.language.corpus`.
        tokens: millions, of a training by tokens.
        minutes: of the processor (on a GPU of the clock), of a training by minutes.
        layers: of the untied table's transformer, as of every kind's where perceptrons are widened.
        context: tokens of a window.
        batch: windows in a step.
        spend: what saved parameters go to.
        precision: of products.
        device: where to train.
        tuned_at: the width that kinds are tuned at; 0 for each.
        tuned_on: the device and precision that they are tuned in; by default those of the trainings.
        tuning_tokens: millions, of a training that tries a rate; by default 15 % of those of a training by tokens.
        warm_up: steps of a training by minutes, whose number of steps is not known.
    """

    folder: Path = STUDIES / "language/embeddings"
    source: str = "standard_library"
    tokens: float = 4.0
    minutes: float = 15.0
    layers: int = 4
    context: int = 128
    batch: int = 32
    spend: Spend = "perceptron"
    precision: Precision = "float32"
    device: str = "cpu"
    tuned_at: int = 0
    tuned_on: tuple[str, Precision] | None = None
    tuning_tokens: float = 0.0
    warm_up: int = 100

    def text(self, vocabulary: int) -> Tokens:
        """The tokens of one vocabulary, written if they are not there."""
        folder = self.folder.parent / f"{Path(self.source).stem}_{vocabulary}"
        corpus = CorpusConfig(self.source)
        return Tokens(write_tokens(folder, TokenizeConfig(corpus, vocabulary=vocabulary), progress=False))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training; as a tuning, it reads a share of the tokens and is measured on the validation part."""

    study: Study
    vocabulary: int
    width: int
    kind: str
    seed: int
    budget: Budget
    rate: float

    def config(self, vocabulary: int) -> LanguageConfig:
        """Model and training, with as many parameters as the untied table.

        Raises:
            ValueError: the embedding and the head alone have more.
        """
        study = self.study
        tuning = study.tuning_tokens or TUNING * study.tokens
        tokens = 1e6 * (tuning if self.budget == "tuning" else study.tokens)
        steps = 0 if self.budget == "minutes" else max(1, round(tokens / (study.batch * study.context)))
        training = TrainingConfig(
            steps=steps,
            minutes=0.0 if steps else study.minutes,
            clock="processor",
            batch=study.batch,
            rate=self.rate,
            warm_up=min(100, max(1, steps // 10)) if steps else study.warm_up,
            evaluations=1 if self.budget == "tuning" else EVALUATIONS,
            precision=study.precision,
            seed=self.seed,
        )
        transformer = TransformerConfig(width=self.width, layers=study.layers, heads=max(1, self.width // 32))
        return dataclasses.replace(
            _equalised(transformer, study.context, self.kind, vocabulary, study.spend), training=training
        )

    def result(self) -> dict[str, Any] | None:
        """Trained now, or kept; none where `config` refuses."""
        tokens = self.study.text(self.vocabulary)
        try:
            config = self.config(tokens.vocabulary)
        except ValueError as refused:
            print(f"{self.kind}: V = {self.vocabulary}, width {self.width} left out: {refused}", flush=True)
            return None
        settings, path = self._described(config, tokens)
        part = settings["part"]

        def compute() -> dict[str, Any]:
            run = RunFolder(path.with_suffix(""), settings, self.seed)
            model, result = train(tokens, config, run=run, samples=False, progress=False, device=self.study.device)
            count = TUNING_WINDOWS if self.budget == "tuning" else WINDOWS
            windows = evenly(len(tokens.part(part)), config.context, count)
            scores = evaluate(model, tokens, part, config.context, windows)
            for name in ("last", "best"):  # many cells are large
                (run.path / f"{name}.safetensors").unlink(missing_ok=True)
            return {
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "embedding": sum(parameter.numel() for parameter in model.embedding.parameters()),
                "bits_per_byte": scores.bits_per_byte,
                "nats_per_token": scores.nats_per_token,
                "bands": {band["ranks"]: band["nats"] for band in scores.bands},
                "steps": result.steps,
                "minutes": result.seconds / 60,
                "tokens_per_second": result.speed,
            }

        named = {field: getattr(self, field) for field in ("vocabulary", "width", "kind", "seed", "budget", "rate")}
        return {**named, **kept(path, compute)}

    def is_kept(self) -> bool:
        """Whether its result is there, or `config` refuses."""
        tokens = self.study.text(self.vocabulary)
        try:
            return self._described(self.config(tokens.vocabulary), tokens)[1].exists()
        except ValueError:
            return True

    def _described(self, config: LanguageConfig, tokens: Tokens) -> tuple[dict[str, Any], Path]:
        """All that the result depends on, and where it is kept."""
        part = "validation" if self.budget == "tuning" else "test"
        settings = {"config": dataclasses.asdict(config), "tokens": tokens.index["made_from"], "part": part}
        settings["device"] = self.study.device
        return settings, kept_path(self.study.folder, json.dumps(settings, sort_keys=True))


@functools.cache
def _equalised(
    transformer: TransformerConfig, context: int, kind: str, vocabulary: int, spend: Spend
) -> LanguageConfig:
    """A kind of the size of the untied table: worked out once, not for each rate and seed."""
    table = LanguageConfig(transformer, *KINDS[BASELINE], context)
    embedding, head = KINDS[kind]
    mine = dataclasses.replace(table, embedding=embedding, head=head)
    return equalised(mine, vocabulary, parameters(table, vocabulary), spend)


def tuned(
    study: Study, vocabulary: int, width: int, kind: str, seed: int, budget: Budget, only_kept: bool = False
) -> Cell | None:
    """The cell at the rate that was best, see the head of this file; none where the kind does not fit this size.

    With only_kept nothing is trained to find it, and there is none if nothing is there.
    """
    tried = whole(study, vocabulary, width, kind, budget) or trials(study, vocabulary, width, kind)
    rows = [row for row in (trial.result() for trial in tried if not only_kept or trial.is_kept()) if row is not None]
    if not rows:
        return None
    best = min(rows, key=lambda row: row["nats_per_token"])
    return Cell(study, vocabulary, width, kind, seed, budget, best["rate"])


def whole(study: Study, vocabulary: int, width: int, kind: str, budget: Budget) -> list[Cell]:
    """The whole trainings of which a table's rate is the best; none of other kinds."""
    if kind not in (BASELINE, TIED):
        return []
    return [Cell(study, vocabulary, width, kind, 0, budget, rate) for rate in TABLE_RATES]


def trials(study: Study, vocabulary: int, width: int, kind: str) -> list[Cell]:
    """The short trainings by which a kind is tuned for a size."""
    width = study.tuned_at or width
    if study.tuned_on:
        study = dataclasses.replace(study, device=study.tuned_on[0], precision=study.tuned_on[1])
    return [Cell(study, vocabulary, width, kind, TUNING_SEED, "tuning", rate) for rate in RATES]


def results(cells: Sequence[Cell], processes: int) -> list[dict[str, Any]]:
    """Of cells in their order, several at a time, one thread each; those that do not fit are left out."""
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        found = []
        for place, row in enumerate(pool.map(Cell.result, cells), 1):
            found.append(row)
            if row is not None:
                told = (
                    f"V = {row['vocabulary']}, width {row['width']}, {row['budget']}: {row['bits_per_byte']:.4f} bits"
                )
                print(f"{place} of {len(cells)}: {row['kind']}, {told}", flush=True)
    return [row for row in found if row is not None]
