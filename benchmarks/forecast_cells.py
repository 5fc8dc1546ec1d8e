"""Forecasters of one flow, each trained alone and kept: what `turbulence_forecast` compares.

A cell is a model and a seed. All learn from the same trajectories with the same symmetries for the same minutes of the
processor. The settings of a baseline are those that did best, of four or more, after a short training, by the CRPS at
lead 1 on trajectories that are held out of the training, not on those of the test. What is trained lies under
``runs/benchmarks/turbulence_forecast``; a training that was cut off goes on from its last checkpoint.
"""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.forecast_study import Setting, fourier, noisy, tried, u_net
from benchmarks.kept import kept
from benchmarks.trial import STUDIES, usual
from domains.turbulence.baselines.climatology import Climatology
from domains.turbulence.baselines.coarse_solver import CoarseSolver
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.baselines.residual_draws import ResidualDraws
from domains.turbulence.data import FlowDataConfig, generate_data, shard_path
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.flows import KolmogorovFlow
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.held_spectrum import ROUNDS, hold_spectrum
from domains.turbulence.innovation_forecaster import InnovationConfig
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import FlowData, read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.symmetries import symmetries_of
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.train_innovations import InnovationTrainConfig, train_innovations
from domains.turbulence.training_data import HeldOutLooks, split
from separable.training import RunFolder

MINUTES = float(os.environ.get("MINUTES", "20"))  # of the processor, a model
FIRST_ORDER = "core, order 1"  # GELU in place of products, otherwise as the core
HALVED = ("core", FIRST_ORDER, "B")  # head B is trained on a core: half the minutes are for each
HELD = 1.0  # minutes of head B's that the runs take by which it holds the spectrum
HELD_SPREAD = 0.5  # of head A's that the ensembles take by which it holds the spread
TUNING = 0.2  # of these minutes for each setting of a baseline that is tried
SEEDS = usual((0, 1, 2), trial=(0,))
FLOW = KolmogorovFlow(viscosity=0.01, drag=0.1, forcing_mode=4)
# A start that is wrong by a tenth of a standard deviation is correlated 0.56 with the truth after ten frames.
LEARNED = FlowDataConfig(
    FLOW,
    trajectories=usual(128, trial=6),
    frames=usual(80, trial=6),
    spacing=usual(1.0, trial=0.1),
    spin_up=usual(40.0, trial=1.0),
    seed=0,
    precision="float32",
)
TESTED = dataclasses.replace(LEARNED, trajectories=usual(32, trial=2), frames=usual(62, trial=16), seed=1)
FOLDER = STUDIES / "turbulence_forecast"
STARTS, LEADS = (0, 10), 50  # frames of each test trajectory that are the last known ones (of one), frames after them


# What is tried for each baseline, with our optimiser and our shorter look ahead among it.
SOAP: Setting = {"optimiser": "soap"}
LARGE: Setting = {"batch": 16, "rollout": 2, "rollout_from": 0.6}
BASELINES: dict[str, list[Setting]] = {
    "FNO": [
        *(fourier(20, 8), fourier(20, 8, 6e-3), fourier(20, 12), fourier(32, 12, 1e-3), fourier(20, 8, **LARGE)),
        *(fourier(20, 8, 1.2e-2), fourier(20, 8, 6e-3, **SOAP), fourier(20, 8, 1.2e-2, **SOAP)),
        *(fourier(20, 8, 6e-3, rollout=2), fourier(16, 8, 6e-3, rollout=2), fourier(12, 8, 6e-3, rollout=2)),
        *(fourier(20, 6, 6e-3, rollout=2), fourier(14, 10, 6e-3, rollout=2)),
    ],
    "FNO of our size": [
        *(fourier(8, 5), fourier(8, 5, 1e-2), fourier(10, 4, 1e-2), fourier(6, 7, 1e-2)),
        fourier(6, 7, 1e-2, **SOAP),
    ],
    "noisy FNO": [
        *(noisy(20, 8), noisy(20, 8, 6e-3), noisy(20, 12), noisy(32, 12, 1e-3), noisy(20, 8, noise_vector=16)),
        *(noisy(20, 8, 1.2e-2), noisy(20, 8, 1.2e-2, {"octave_weight": 3.0}, noise_size=0.5)),
        *(noisy(20, 8, 6e-3, SOAP), noisy(20, 8, 1.2e-2, SOAP), noisy(20, 8, 6e-3, {"rollout": 2})),
        *(noisy(20, 8, 6e-3, noise_late=True), noisy(20, 8, 1.2e-2, SOAP, noise_late=True)),
    ],
    "U-Net": [
        *(u_net(16, 4), u_net(16, 4, 3e-3), u_net(16, 3, 3e-3), u_net(24, 4), u_net(16, 4, **LARGE)),
        *(u_net(16, 4, **SOAP), u_net(16, 4, 3e-3, **SOAP)),
        *(u_net(16, 4, rollout=2), u_net(16, 4, 6e-3, **SOAP)),
    ],
}


def first_order(channels: int, products: int) -> DeterministicConfig:
    """A core without products."""
    return DeterministicConfig(SeparableNetwork(channels, products, order=1))


USUAL: Setting = {"rollout": 4}  # of a baseline, where its setting does not say otherwise
SETTINGS: dict[str, list[Setting]] = {
    "A": [{"model": NoiseForecasterConfig()}],  # ours have one setting, the defaults
    "core": [{"model": DeterministicConfig()}],
    **{name: [USUAL | setting for setting in settings] for name, settings in BASELINES.items()},
    # 18 fields to points and 18 back cost what 24 and 12 do, and are filtered by as many numbers.
    FIRST_ORDER: [
        *({"model": first_order(16, 18), "rate": rate} for rate in (6e-3, 1.2e-2, 2.4e-2)),
        {"model": first_order(16, 18), "rate": 6e-3, "optimiser": "adamw"},
        {"model": first_order(24, 18), "rate": 1.2e-2},
    ],
}
SETTINGS = tried(SETTINGS)
FREE = ("persistence", "climatology", "half resolution")  # nothing is learned
INNOVATIONS = usual(
    InnovationTrainConfig(),
    trial=InnovationTrainConfig(InnovationConfig(modes=(7, 7)), examples=20, spectrum_steps=3, spectrum_runs=2),
)
# What is tried where nothing is trained, chosen by leads 1 and 5: an eddy viscosity, in units of the flow's own, for
# what a coarse grid does not resolve; how large residuals are, in units of their own size, and how many there are.
# Those of the core, head B's null, are taken as they are.
CHOICES: dict[str, list[Setting]] = {
    "half resolution": [
        *({"viscosity": share, "step": LEARNED.step} for share in (1.0, 1.1, 1.2, 1.3, 1.5)),
        {"viscosity": 1.0, "step": LEARNED.step / 2},
    ],
    "FNO + residuals": [
        *({"size": size, "count": 1000} for size in (0.8, 0.9, 1.0, 1.1, 1.25)),
        *({"size": 1.0, "count": count} for count in (100, 4000)),
    ],
}
CHOICES = tried(CHOICES)
HELD_DRAWS = "core + residuals, held"  # draws whose size holds the spectrum as that of head B does
NEEDS = {"FNO + residuals": "FNO", "core + residuals": "core", HELD_DRAWS: "core", "B": "core"}  # built on another one
NAMES = (*SETTINGS, *NEEDS, *FREE)


def flow_data() -> tuple[FlowData, FlowData]:
    """Trajectories to learn from and to test on; made once, in about five minutes of the processor."""
    found = []
    for name, config in (("learn", LEARNED), ("test", TESTED)):
        folder = FOLDER / name
        # Only one process may make a data set; those that read a finished one must not stand in each other's way.
        if not all(shard_path(folder, index).exists() for index in range(config.shards)):
            generate_data(folder, config, processes=int(os.environ.get("PROCESSES", "1")))
        found.append(read_flow(folder, scan=False))
    return found[0], found[1]


def place(name: str, seed: int | str) -> Path:
    """The folder of a cell."""
    return FOLDER / f"{MINUTES:g} minutes" / name.replace(" ", "_") / str(seed)


def length(minutes: float) -> dict[str, Any]:
    """Settings of a training that is to last some minutes of the processor."""
    return usual({"minutes": minutes}, trial={"steps": 2, "batch": 2})


def config_of(setting: Setting, seed: int, minutes: float) -> TrainConfig:
    """What a training is given."""
    return TrainConfig(**setting | length(minutes), seed=seed)


def trained(name: str, setting: Setting, seed: int, minutes: float, folder: Path) -> dict[str, Any]:
    """Train a cell, or find it trained; returns its last measurement."""
    config = config_of(setting, seed, minutes)
    finished = folder / "finished.json"
    if not finished.exists():
        kind = type(config.model).__name__
        run = RunFolder(folder, {"name": name, "kind": kind, **dataclasses.asdict(config)}, seed)
        forecaster = train(flow_data()[0], config, run=run)
        last = {**run.last_scores(), "parameters": forecaster.n_parameters}
        run.write("finished.json", json.dumps(last))
    found: dict[str, Any] = json.loads(finished.read_text())
    return found


def tuned(name: str) -> tuple[Setting, list[dict[str, Any]]]:
    """The best setting of a model, and what each reached in a short training."""
    settings = SETTINGS[name]
    if len(settings) == 1:
        return settings[0], []
    rows = []
    for number, setting in enumerate(settings):
        last = trained(name, setting, 0, TUNING * MINUTES, place(name, f"setting_{number}"))
        told = {"model": name, "setting": told_of(setting), "parameters": last["parameters"]}
        rows.append(told | {"CRPS at lead 1": last["crps_1"], "steps": last["step"]})
    best = min(range(len(rows)), key=lambda number: rows[number]["CRPS at lead 1"])
    return settings[best], rows


def chosen(name: str) -> tuple[Setting, list[dict[str, Any]]]:
    """The best setting of a model that is not trained, and what each reached on the held-out samples."""
    settings = CHOICES[name]
    learn = flow_data()[0]
    scale = float(learn.load(range(0, len(learn), 4)).std())
    looks = HeldOutLooks(learn, split(learn, TrainConfig().held_out)[1], 1, scale, noise=name in NEEDS)

    def make(setting: Setting) -> Forecaster:
        return residual_draws(name, 0, **setting) if name in NEEDS else coarse_solver(**setting)

    rows = [
        kept(
            place(name, f"setting_{number}").with_suffix(".json"),
            lambda s=setting: {"setting": s} | looks.scores(make(s), 0),  # type: ignore[misc]
        )
        for number, setting in enumerate(settings)
    ]
    totals = [sum(score for key, score in row.items() if key != "setting") for row in rows]
    return settings[totals.index(min(totals))], rows


def coarse_solver(viscosity: float, step: float) -> CoarseSolver:
    """The equation on half the points, its viscosity in units of the flow's."""
    description = FlowDescription.of(flow_data()[0])
    flow = dataclasses.replace(FLOW, viscosity=viscosity * FLOW.viscosity)
    return CoarseSolver(description, flow, [n // 2 for n in description.shape], step=step)


def residual_draws(name: str, seed: int, size: float = 1.0, count: int = 1000) -> ResidualDraws:
    """Residuals of a trained model, in units of their own size."""
    learn = flow_data()[0]
    rows, symmetries = split(learn, TrainConfig().held_out)[0], symmetries_of(FLOW, learn.grid)
    draws = ResidualDraws.of(load_forecaster(place(NEEDS[name], seed)), learn, rows, symmetries, count=count, seed=seed)
    draws.residuals = size * draws.residuals
    return draws


def told_of(setting: Setting) -> str:
    """A setting in words."""
    network = getattr(setting["model"], "network", setting["model"])
    sizes = ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(network).items())
    others = "".join(f", {key} {value}" for key, value in setting.items() if key not in ("model", "rate"))
    if isinstance(setting["model"], NoisyConfig):
        others += f", noise of size {setting['model'].noise_size:g}, vector {setting['model'].noise_vector}"
        others += ", before the last layer" if setting["model"].noise_late else ""
    return f"{sizes}, rate {setting.get('rate', TrainConfig().rate):g}{others}"


def minutes_of(name: str) -> float:
    """Minutes of the processor that a model is trained for."""
    return MINUTES / 2 if name in HALVED else MINUTES - HELD_SPREAD if name == "A" else MINUTES


def prepare(name: str, seed: int) -> None:
    """Train what a cell needs; quick if it is trained."""
    if name in SETTINGS:
        trained(name, tuned(name)[0], seed, minutes_of(name), place(name, seed))
    elif name in NEEDS:
        prepare(NEEDS[name], seed)
        if name == "B":
            innovations(seed)


def innovations(seed: int) -> None:
    """Head B on the core of the same seed."""
    folder = place("B", seed)
    if (folder / "finished.json").exists():
        return
    descent = dataclasses.replace(INNOVATIONS.descent, **length(minutes_of("B") - HELD), seed=seed)
    config = dataclasses.replace(INNOVATIONS, descent=descent)
    run = RunFolder(folder, {"name": "B", **dataclasses.asdict(config)}, seed)
    core = load_forecaster(place("core", seed))
    forecaster = train_innovations(core, flow_data()[0], config, run=run)  # type: ignore[arg-type]
    run.write("finished.json", json.dumps({**run.last_scores(), "parameters": forecaster.n_parameters}))


def forecaster_of(name: str, seed: int) -> tuple[Forecaster, bool]:
    """The forecaster of a cell, and whether its members differ."""
    learn, _ = flow_data()
    rows = split(learn, TrainConfig().held_out)[0]
    description, symmetries = FlowDescription.of(learn), symmetries_of(FLOW, learn.grid)
    prepare(name, seed)
    if name == "persistence":
        return Persistence(description), False
    if name == "climatology":
        frames = learn.load(rows)[:, ::5].flatten(0, 1)  # of the training, one in five: neighbours are alike
        return Climatology(description, frames, symmetries), True
    if name == "half resolution":
        return coarse_solver(**chosen(name)[0]), False
    if name in NEEDS and name != "B":
        draws = residual_draws(name, seed, **chosen(name)[0] if name in CHOICES else {})
        if name == HELD_DRAWS:
            windows = learn.windows(draws.history, math.ceil(INNOVATIONS.spectrum_steps / ROUNDS), samples=rows)
            hold_spectrum(draws, windows, INNOVATIONS.spectrum_runs, seed)
        return draws, True
    return load_forecaster(place(name, seed)), name in ("A", "B", "noisy FNO")


def seeds_of(name: str) -> tuple[int, ...]:
    """Seeds of a model; one where nothing is random but the draws."""
    return (0,) if name in FREE else SEEDS


def starts(test: FlowData, history: int = 1) -> tuple[Tensor, Tensor, list[int]]:
    """Starts ``(S, H, *grid)`` of the test, what came ``(S, L, *grid)``, and the trajectory of each."""
    frames = test.load()
    leads = min(LEADS, frames.shape[1] - max(STARTS) - 1)
    first = [at if at + 1 >= history else history - 1 for at in STARTS]
    past = torch.cat([frames[:, at + 1 - history : at + 1] for at in first])
    future = torch.cat([frames[:, at + 1 : at + 1 + leads] for at in first])
    return past, future, list(range(len(frames))) * len(first)
