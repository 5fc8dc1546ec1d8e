"""Long jobs in small, each of which goes on where it was cut off: what starts it, what it leaves, how far it is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from domains.language.corpus import CorpusConfig
from domains.language.distillation.logits_cache import LogitsCacheConfig, write_logits
from domains.language.reversal import train as reversal
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from domains.language.train import train as train_language
from domains.microstructure.data import CellDataConfig, generate_data, read_data
from domains.microstructure.janus import JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.train import TrainConfig, train_janus
from domains.navigation.options import WaypointOptions
from domains.navigation.training import TrainConfig as PolicyConfig
from domains.navigation.training import train as train_policy
from domains.turbulence import data as turbulence
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.readers import read_flow
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import RunFolder, ShuffledRows, TrainingConfig, run_training


@dataclass(frozen=True)
class Job:
    """One kind of long work.

    Attributes:
        name: what it does.
        run: starts it in a folder, or goes on there.
        result: what it left, by name; what depends on the clock is not in it.
        done: how much finished work the folder holds.
        prepare: writes what the work needs, once.
    """

    name: str
    run: Callable[[Path], object]
    result: Callable[[Path], dict[str, bytes]]
    done: Callable[[Path], int]
    prepare: Callable[[Path], object] = lambda folder: None

    def __str__(self) -> str:
        return self.name


def tensors_of(file: Path) -> dict[str, bytes]:
    """The tensors of a safetensors file as bytes."""
    found = safetensors.torch.load_file(file)
    return {name: value.reshape(-1).view(torch.uint8).numpy().tobytes() for name, value in found.items()}


def step_of(file: Path) -> int:
    """Steps behind a checkpoint of `separable.training`, 0 where there is none."""
    if not file.exists():
        return 0
    with safetensors.safe_open(file, "pt") as held:
        return int(json.loads(held.metadata()["training"])["step"])


def run_loop(folder: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    x = torch.randn(64, 3)
    rows = ShuffledRows(64, lambda places: (x[places], x[places].sum(-1, keepdim=True)))
    config = TrainingConfig(steps=300, batch=8, evaluate_every=10, log_every=5, checkpoint_every=5)

    def squares(trained: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.mse_loss(trained(batch[0]), batch[1])

    run_training(model, squares, rows, config, run=RunFolder(folder / "run", config, 0), progress=False)


def run_reversal(folder: Path) -> None:
    facts = reversible_facts(ReversibleFactsConfig(both_ways=40, one_way=20, multiplicity=3))
    config = TrainingConfig(steps=60, batch=16, evaluate_every=10, checkpoint_every=5)
    run = RunFolder(folder / "run", config, 0)
    reversal.train(facts, JointModelConfig(width=16), config, run=run, progress=False)


def write_texts(folder: Path) -> None:
    (folder / "text").mkdir()
    for number in range(120):
        text = f"document {number}: " + f"{number} ü 漢 " * (5 + number % 30)
        (folder / "text" / f"{number:03d}.txt").write_text(text, encoding="utf-8")


def tokenize(folder: Path) -> Path:
    corpus = CorpusConfig(str(folder / "text"), validation=0.1, test=0.0)
    return write_tokens(folder / "tokens", TokenizeConfig(corpus, shard=200), progress=False)


def tokens_left(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "tokens").glob("*.bin")}


def documents_done(folder: Path) -> int:
    if (folder / "tokens" / "index.json").exists():
        return 10**6
    journal = folder / "tokens" / "writing.json"
    return json.loads(journal.read_text())["done"] if journal.exists() else 0


def run_language(folder: Path) -> None:
    training = TrainingConfig(steps=40, batch=4, evaluate_every=10, checkpoint_every=5)
    config = LanguageConfig(transformer=TransformerConfig(width=16, layers=1, heads=2), context=16, training=training)
    run = RunFolder(folder / "run", {"seed": 0}, 0)
    train_language(Tokens(folder / "tokens"), config, run=run, progress=False)


def prepare_tokens(folder: Path) -> None:
    write_texts(folder)
    tokenize(folder)


def write_cache(folder: Path) -> None:
    config = LanguageModelConfig(257, TransformerConfig(width=16, layers=1, heads=2))
    teacher = LanguageModel(config, torch.Generator().manual_seed(0)).eval()
    write_logits(
        folder / "logits", teacher, Tokens(folder / "tokens"), LogitsCacheConfig(entries=4, context=16, shard=20)
    )


def logits_left(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "logits").iterdir() if file.name[0] != "."}


def logits_done(folder: Path) -> int:
    index = folder / "logits" / "index.json"
    return len(json.loads(index.read_text())["shards"]) if index.exists() else 0


CELLS = CellDataConfig((16, 16), 60, ("spinodal",), feature=(0.4, 0.5), materials=Materials(young=None))
MODEL = JanusConfig((16, 16), ("conductivity_xx",), latent=4, width=4)


def generate_cells(folder: Path) -> Path:
    return generate_data(folder / "cells.h5", CELLS, block=4, progress=False)


def cells_left(folder: Path) -> dict[str, bytes]:
    data = read_data(folder / "cells.h5")
    assert len(data) == CELLS.count
    return {"cells": data.cells.numpy().tobytes()} | {n: v.numpy().tobytes() for n, v in data.columns.items()}


def cells_done(folder: Path) -> int:
    rows: set[int] = set()
    for part in (folder / ".cells.h5.parts").glob("*.npz"):
        rows |= set(range(int(part.stem), int(part.stem) + 4))
    if (folder / "cells.h5").exists():
        rows |= set(range(len(read_data(folder / "cells.h5"))))
    return len(rows)


def run_janus(folder: Path) -> None:
    config = TrainConfig(steps=60, batch=4)
    run = RunFolder(folder / "run", config, 0)
    train_janus(read_data(folder / "cells.h5"), MODEL, config, run=run, progress=False)


def run_policy(folder: Path) -> None:
    options = WaypointOptions(time_limit=1.0, waypoints=2)
    config = PolicyConfig(steps=1024, worlds=4, rollout=16, batch=32, episodes=2, evaluate_every=64, options=options)
    train_policy(config, RunFolder(folder / "run", config, 0), progress=False)


def policy_done(folder: Path) -> int:
    file = folder / "run" / "checkpoint.safetensors"
    if not file.exists():
        return 0
    with safetensors.safe_open(file, "np") as held:
        return int(json.loads(held.metadata()["plain"])["counters"]["num_timesteps"])


FLOWS = turbulence.FlowDataConfig(
    size=(16, 16), trajectories=12, frames=6, spin_up=0.05, spacing=0.05, step=0.0125, shard=2
)


def generate_flows(folder: Path) -> Path:
    return turbulence.generate_data(folder / "flows", FLOWS, progress=False)


def flows_left(folder: Path) -> dict[str, bytes]:
    return {"fields": np.ascontiguousarray(read_flow(folder / "flows").fields[:]).tobytes()}


def flows_done(folder: Path) -> int:
    return len(list((folder / "flows").glob("shard_*.h5")))


def run_forecaster(folder: Path) -> None:
    from domains.turbulence import training_data
    from domains.turbulence.deterministic_forecaster import DeterministicConfig
    from domains.turbulence.train import TrainConfig as ForecasterConfig
    from domains.turbulence.train import train

    training_data._STARTS, training_data._MEMBERS, training_data._LEADS = 1, 2, 1
    model = DeterministicConfig(SeparableNetwork(channels=4, products=3, blocks=1))
    config = ForecasterConfig(model, steps=40, batch=2)
    train(read_flow(folder / "flows"), config, run=RunFolder(folder / "run", {"seed": 0}, 0), progress=False)


def descent_done(folder: Path) -> int:
    if (folder / "run" / "forecaster.safetensors").exists():
        return 10**6
    file = folder / "run" / "checkpoint.safetensors"
    return int(safetensors.torch.load_file(file)["steps"]) if file.exists() else 0


def trained(folder: Path) -> dict[str, bytes]:
    return tensors_of(folder / "run" / "last.safetensors")


def loop_done(folder: Path) -> int:
    return step_of(folder / "run" / "last.safetensors")


JOBS = [
    Job("training loop", run_loop, trained, loop_done),
    Job("model of facts", run_reversal, trained, loop_done),
    Job("tokens", tokenize, tokens_left, documents_done, write_texts),
    Job("language model", run_language, trained, loop_done, prepare_tokens),
    Job("stored logits", write_cache, logits_left, logits_done, prepare_tokens),
    Job("cells", generate_cells, cells_left, cells_done),
    Job("model of cells", run_janus, lambda f: tensors_of(f / "run" / "janus.safetensors"), loop_done, generate_cells),
    Job("policy", run_policy, lambda f: tensors_of(f / "run" / "policy.safetensors"), policy_done),
    Job("flows", generate_flows, flows_left, flows_done),
    Job(
        "forecaster",
        run_forecaster,
        lambda f: tensors_of(f / "run" / "forecaster.safetensors"),
        descent_done,
        generate_flows,
    ),
]
