"""Long jobs in small, each of which goes on where it was cut off: what starts it, what it leaves, how far it is."""

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from domains.navigation.options import WaypointOptions
from domains.navigation.training import TrainConfig, train
from separable.training import RunFolder, ShuffledRows, TrainingConfig, run_training
from tests.reliability import language_jobs, microstructure_jobs, turbulence_jobs
from tests.reliability.job import Job, loop_done, tensors_of, trained


def run_loop(folder: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    x = torch.randn(64, 3)
    rows = ShuffledRows(64, lambda places: (x[places], x[places].sum(-1, keepdim=True)))
    config = TrainingConfig(steps=120, batch=8, evaluate_every=10, log_every=5, checkpoint_every=5)

    def squares(trained: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.mse_loss(trained(batch[0]), batch[1])

    run_training(model, squares, rows, config, run=RunFolder(folder / "run", config, 0), progress=False)


def run_policy(folder: Path) -> None:
    options = WaypointOptions(time_limit=1.0, waypoints=2)
    config = TrainConfig(steps=512, worlds=4, rollout=16, batch=32, episodes=2, evaluate_every=64, options=options)
    train(config, RunFolder(folder / "run", config, 0), progress=False)


def policy_done(folder: Path) -> int:
    file = folder / "run" / "checkpoint.safetensors"
    if not file.exists():
        return 0
    with safetensors.safe_open(file, "np") as held:
        return int(json.loads(held.metadata()["plain"])["counters"]["num_timesteps"])


JOBS = [
    Job("training loop", run_loop, trained, loop_done),
    Job("policy", run_policy, lambda f: tensors_of(f / "run" / "policy.safetensors"), policy_done),
    *language_jobs.JOBS,
    *microstructure_jobs.JOBS,
    *turbulence_jobs.JOBS,
]
