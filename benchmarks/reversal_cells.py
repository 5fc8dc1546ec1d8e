"""What the benchmarks of reversal share: the models that are compared, and one training of one of them, kept on disk.

Every side gets the same facts and the same processor time, ``REVERSAL_MINUTES``; the number of steps that it makes
within it is measured before the training. A training that was cut off goes on; a finished one is not made again.
"""

import concurrent.futures
import dataclasses
import functools
import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.kept import kept, kept_path
from benchmarks.trial import RESULTS, STUDIES, usual
from domains.language.reversal.evaluate import entanglement, pairs_only, ranking
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointFactModel, JointModelConfig
from domains.language.reversal.recognisers import RecogniserConfig
from domains.language.reversal.train import ModelConfig, train
from domains.language.reversal.transformer import TransformerModelConfig
from separable.training import RunFolder, TrainingConfig

FOLDER = STUDIES / "reversal"
SEEDS = usual((0, 1, 2), trial=(0,))
MINUTES = usual(float(os.environ.get("REVERSAL_MINUTES", 1.25)), trial=1e-6)  # of processor time a training
LEAST = usual(50, trial=2)  # steps of a training
TIMED = usual((5, 5, 45), trial=(1, 1, 2))  # steps of three trainings whose time says how many the minutes allow
BOTH_WAYS, ONE_WAY = usual((1000, 600), trial=(100, 60))  # entities
WIDTH = 64
EVALUATIONS = 10  # during a training, beside its minutes
ASKED, PROBED = 150, 60  # questions that the transformer is asked at the end and on the way; its scores are dear

PUBLISHED = JointModelConfig(predictor="transformer", norm="variance", width=WIDTH)
OURS = JointModelConfig(width=WIDTH, recogniser=RecogniserConfig(rows=512))
SIDES: dict[str, ModelConfig] = {
    "transformer": TransformerModelConfig(width=WIDTH, layers=1),
    "transformer, our norm": TransformerModelConfig(width=WIDTH, layers=1, norm="unit"),
    "JEPA": dataclasses.replace(PUBLISHED, recogniser=RecogniserConfig("none", layers=1)),
    "JEPA + memory": dataclasses.replace(PUBLISHED, norm="affine", recogniser=RecogniserConfig("fixed keys")),
    "ours": OURS,
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        facts: Sizes of the facts.
        model: What is trained.
        decay: Weight decay.
        rate: Learning rate.
        seed: Of facts, start values and draws.
        minutes: Of processor time.
    """

    facts: ReversibleFactsConfig
    model: ModelConfig
    decay: float = 1.0
    rate: float = 3e-3
    seed: int = 0
    minutes: float = MINUTES

    def path(self) -> Path:
        """Where the result is kept."""
        return kept_path(FOLDER, json.dumps([type(self.model).__name__, dataclasses.asdict(self)]))

    def result(self) -> dict[str, Any]:
        """The kept result, or the training's."""
        return kept(self.path(), self._trained)

    def _training(self, steps: int) -> TrainingConfig:
        return TrainingConfig(
            steps=steps,
            batch=512,
            rate=self.rate,
            warm_up=50,
            weight_decay=self.decay,
            decay_from=0.5,
            betas=(0.9, 0.99),
            evaluate_every=max(1, steps // EVALUATIONS),
            log_every=max(1, steps // EVALUATIONS),
            seed=self.seed,
        )

    def _trained(self) -> dict[str, Any]:
        torch.set_num_threads(1)
        facts = reversible_facts(dataclasses.replace(self.facts, seed=self.seed))
        run = RunFolder(self.path().with_suffix(""), dataclasses.asdict(self), self.seed)
        plan = run.path / "steps.json"
        if not plan.exists():
            run.write("steps.json", json.dumps(self._affordable(facts)))
        training = self._training(json.loads(plan.read_text()))
        started = time.process_time()
        dear = isinstance(self.model, TransformerModelConfig)
        model, _ = train(facts, self.model, training, run=run, progress=False, probes=PROBED if dear else 300)
        seconds = time.process_time() - started
        few = ASKED if dear else len(facts.test)
        parts = {"reversed": facts.test[:few], "one way": facts.one_way[:few]}
        found = {name: dataclasses.asdict(ranking(model, part)) for name, part in parts.items()}
        curve = [[line["step"], line["scores"]] for line in run.metrics() if "scores" in line]
        held = dataclasses.asdict(entanglement(model)) if isinstance(model, JointFactModel) else None
        return {
            **found,
            "entanglement": held,
            "curve": curve,
            "parameters": model.n_parameters,
            "steps": training.steps,
            "seconds": seconds,
        }

    def _affordable(self, facts: Any) -> int:
        """Steps within the minutes, from the time of some."""
        spent = []
        for steps in TIMED:  # the first warms up
            config = dataclasses.replace(self._training(steps), evaluate_every=10**9)
            started = time.process_time()
            train(dataclasses.replace(facts, test=()), self.model, config, progress=False)
            spent.append(time.process_time() - started)
        more = TIMED[2] - TIMED[1]
        return max(LEAST, int(60 * self.minutes * more / max(spent[2] - spent[1], 1e-3)))


def run_all(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Results of all cells, in parallel processes of one thread each."""
    missing = [cell for cell in dict.fromkeys(cells) if not cell.path().exists()]
    if missing:
        started = time.time()
        for i, _ in enumerate(_workers().map(Cell.result, missing), 1):
            print(f"{i} of {len(missing)} trainings, {time.time() - started:.0f} s", flush=True)
    return [cell.result() for cell in cells]


@functools.cache
def _workers() -> concurrent.futures.Executor:
    """Processes for all trainings of this one: the first step in each takes seconds."""
    return concurrent.futures.ProcessPoolExecutor(int(os.environ.get("PROCESSES", os.cpu_count() or 1)))


def tuned(facts: ReversibleFactsConfig, model: ModelConfig, decays: Sequence[float], rates: Sequence[float]) -> Cell:
    """The cell whose weight decay and rate were best for this model, on a seed of its own with a fifth of the time."""
    trials = [Cell(facts, model, decay, rate, 100, MINUTES / 5) for decay in decays for rate in rates]
    found = run_all(trials)
    best = trials[max(range(len(trials)), key=lambda i: found[i]["reversed"]["mrr"])]
    return dataclasses.replace(best, seed=0, minutes=MINUTES)


def over_seeds(cell: Cell) -> list[dict[str, Any]]:
    """Results of a cell for every seed."""
    return run_all([dataclasses.replace(cell, seed=seed) for seed in SEEDS])


def accuracy(results: Sequence[dict[str, Any]], kind: str = "reversed", measure: str = "accuracy") -> float:
    """Mean of a measure over seeds."""
    return statistics.mean(result[kind][measure] for result in results)


def row(name: str, cell: Cell, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A line of a record."""

    def told(kind: str, measure: str) -> str:
        values = [result[kind][measure] for result in results]
        return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    line = {
        "model": name,
        "names": cell.facts.naming,
        "multiplicity": cell.facts.multiplicity if cell.facts.naming == "surface" else "-",
        "entities": cell.facts.both_ways + cell.facts.one_way,
        "pairs of relations": cell.facts.pairs,
        "parameters": results[0]["parameters"],
        "reversed: accuracy": told("reversed", "accuracy"),
        "reversed: MRR": told("reversed", "mrr"),
        "trained direction: accuracy": told("one way", "accuracy"),
        "trained direction: MRR": told("one way", "mrr"),
        "weight decay": cell.decay,
        "rate": cell.rate,
        "processor s": round(statistics.mean(result["seconds"] for result in results)),
    }
    if results[0]["entanglement"]:
        held = statistics.mean(r["entanglement"]["sharing"] for r in results)
        line["entanglement"] = "-" if math.isnan(held) else round(held, 3)  # at multiplicity 1 no words are shared
    return line


def pairs_row(pairs: int) -> dict[str, Any]:
    """The line of who knows pairs without relations."""
    found = pairs_only(pairs)
    return {
        "model": "pairs without relations",
        "pairs of relations": pairs,
        "reversed: accuracy": f"{found.accuracy:.3f}",
        "reversed: MRR": f"{found.mrr:.3f}",
    }


def filled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns."""
    columns = list(dict.fromkeys(name for line in rows for name in line))
    return [{name: line.get(name, "-") for name in columns} for line in rows]


def draw_curves(panels: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]], item: str, title: str) -> None:
    """Reciprocal rank and accuracy of reversed facts over the training: a column each panel, all seeds shaded."""
    figure = Figure(figsize=(max(6.4, 3.2 * len(panels)), 5.4), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, sharey=True, squeeze=False)
    shares = np.linspace(1 / EVALUATIONS, 1, EVALUATIONS)  # of the training; seeds make different numbers of steps
    for column, (name, sides) in enumerate(panels.items()):
        for side, results in sides.items():
            for axis, measure in zip(axes[:, column], ("test_mrr", "test_error"), strict=True):
                curves = _over_training(results, shares, measure)
                if measure == "test_error":
                    curves = 1 - curves
                (line,) = axis.plot(shares * MINUTES, curves.mean(0), label=side)
                axis.fill_between(shares * MINUTES, curves.min(0), curves.max(0), color=line.get_color(), alpha=0.2)
        axes[0, column].set_title(name, fontsize=9)
        axes[1, column].set_xlabel("minutes of processor time")
    axes[0, 0].set_ylim(-0.02, 1.02)
    axes[0, 0].set_ylabel("mean reciprocal rank")
    axes[1, 0].set_ylabel("accuracy")
    axes[0, -1].legend(fontsize=7)
    figure.suptitle(title, fontsize=11)
    figure.savefig(RESULTS / f"reversal-{item}.png", dpi=110)


def _over_training(results: Sequence[dict[str, Any]], shares: np.ndarray, measure: str) -> np.ndarray:
    """A measure ``(seeds, shares)`` at shares of the steps of each training."""
    found = []
    for result in results:
        steps, scores = zip(*result["curve"], strict=True)
        found.append(np.interp(shares * result["steps"], steps, [score[measure] for score in scores]))
    return np.stack(found)


def command(name: str) -> str:
    """The command that repeats a record, time included."""
    return f"REVERSAL_MINUTES={MINUTES:g} python -m benchmarks.{name}"
