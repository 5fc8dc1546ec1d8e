"""What the domain of navigation reads: policies, checkpoints, controllers, flights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.navigation.checkpoint import restore, store
from domains.navigation.export import export_numpy
from domains.navigation.flights import read_flights, record_flights
from domains.navigation.numpy_policy import NumpyPolicy
from domains.navigation.options import WaypointOptions
from domains.navigation.saved import load_policy, save_policy
from domains.navigation.training import TrainConfig, make_model
from tests.reliability.harness import Reader

OPTIONS = WaypointOptions(time_limit=1.0, waypoints=2)
CONFIG = TrainConfig(steps=32, worlds=2, rollout=8, batch=8, options=OPTIONS)
SEEN = np.linspace(-1, 1, 21, dtype=np.float32).reshape(3, 7)


def model() -> Any:
    torch.manual_seed(0)
    return make_model(CONFIG)


def make_policy(folder: Path) -> None:
    save_policy(model(), CONFIG, folder)


def read_policy(folder: Path) -> Any:
    found, config = load_policy(folder)
    return [found.policy.state_dict(), found.predict(SEEN, deterministic=True)[0], repr(config)]


def make_checkpoint(folder: Path) -> None:
    made = model()
    made.learn(16)
    store(made, folder / "checkpoint.safetensors", {"score": 0.5})


def read_checkpoint(folder: Path) -> Any:
    made = model()
    extra = restore(made, folder / "checkpoint.safetensors")
    worlds = made.env.worlds
    return [
        made.policy.state_dict(),
        json.dumps(extra),
        worlds.state,
        worlds.target,
        made._last_obs,
        made.num_timesteps,
    ]


def make_controller(folder: Path) -> None:
    export_numpy(model(), folder / "controller.npz")


def read_controller(folder: Path) -> Any:
    return NumpyPolicy.load(folder / "controller.npz")(SEEN)


def make_flights(folder: Path) -> None:
    record_flights(folder / "flights.h5", lambda seen: seen[:, :2].clip(-1, 1), OPTIONS, 2, noise=0.1)


def read_flight_data(folder: Path) -> Any:
    data = read_flights(folder / "flights.h5")
    return [data.observations, data.actions, data.rewards, data.episode, data.success, data.noise, repr(data.options)]


READERS = [
    Reader("policy", make_policy, read_policy, ("config.json", "policy.safetensors")),
    Reader("checkpoint of a policy", make_checkpoint, read_checkpoint, ("checkpoint.safetensors",)),
    Reader("controller", make_controller, read_controller, ("controller.npz",)),
    Reader("flights", make_flights, read_flight_data, ("flights.h5",)),
]
