"""What the library reads: layers, solutions, language models, checkpoints, records of runs."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

import separable
from separable.atoms import BSpline, Perceptron
from separable.fitting import Posterior
from separable.galerkin import Solution
from separable.galerkin.solution import layer_of
from separable.interactions import CanonicalPolyadic
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.serving import Surrogate
from separable.training import RunFolder, TrainingConfig, adamw
from separable.training.checkpoint import load_checkpoint, save_checkpoint
from tests.reliability.harness import Reader

CONFIG = TrainingConfig(steps=4, batch=2)


def make_layer(folder: Path) -> None:
    torch.manual_seed(0)
    atoms = [BSpline(intervals=3), Perceptron(functions=3, width=4)]
    separable.SeparableLayer(2, 1, atoms=atoms, interaction=CanonicalPolyadic(2)).save(folder)


def read_layer(folder: Path) -> Any:
    layer = separable.SeparableLayer.load(folder)
    return [layer.state_dict(), json.dumps(layer.config())]


def make_solution(folder: Path) -> None:
    spline = BSpline(intervals=3)
    layer = layer_of([spline, spline], [torch.ones(spline.size, 2).numpy()] * 2)
    Solution(layer, ("x", "t"), ("m", "s"), "u", 1e-3, 1e-9, ((1, 0.1), (2, 1e-9)), "converged", 0.5).save(folder)


def read_solution(folder: Path) -> Any:
    found = Solution.load(folder)
    return [
        repr(found),
        found.names,
        found.units,
        found.history,
        found.layer(torch.tensor([[0.25, 0.5]]).double()).detach(),
    ]


def make_language_model(folder: Path) -> None:
    config = LanguageModelConfig(31, TransformerConfig(width=16, layers=1, heads=2))
    LanguageModel(config, torch.Generator().manual_seed(0)).save(folder)


def read_language_model(folder: Path) -> Any:
    model = LanguageModel.load(folder)
    with torch.no_grad():
        return [model.state_dict(), model(torch.arange(6)[None])]


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return model, adamw(model, CONFIG)


def make_checkpoint(folder: Path) -> None:
    model, optimiser = network()
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    save_checkpoint(folder / "last.safetensors", model, optimiser, {"step": 1, "scores": {"error": 0.5}})


def read_checkpoint(folder: Path) -> Any:
    model, optimiser = network()
    progress = load_checkpoint(folder / "last.safetensors", model, optimiser)
    state = optimiser.state_dict()["state"]
    return [model.state_dict(), {str(n): s for n, s in state.items()}, json.dumps(progress)]


def make_run(folder: Path) -> None:
    run = RunFolder(folder, CONFIG, 0)
    for step in range(1, 4):
        run.log(step=step, loss=1 / step)


def read_run(folder: Path) -> Any:
    run = RunFolder(folder, CONFIG, 0)
    run.forget_after(2)
    return json.dumps(run.metrics())


def make_posterior(folder: Path) -> None:
    x = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)).double()
    separable.condition(x, x[:, 0] * (1 + x[:, 1]), domain=[(0.0, 1.0)] * 2, links=("identity",)).save(folder)


def read_posterior(folder: Path) -> Any:
    found = Posterior.load(folder)
    return [found.x, found.y, found.predict(torch.full((1, 2), 0.5).double())]


def make_surrogate(folder: Path) -> None:
    torch.manual_seed(0)
    layer = separable.SeparableLayer(2, 1, atoms=BSpline(intervals=3), interaction=CanonicalPolyadic(2))
    Surrogate.of(layer, names=["x", "t"], units=["m", "s"]).save(folder)


def read_surrogate(folder: Path) -> Any:
    found = Surrogate.load(folder)
    return [found.evaluate([[0.5, 0.5]]), repr(found.coordinates), repr(found.values)]


LAYER = ("config.json", "model.safetensors")
READERS = [
    Reader("layer", make_layer, read_layer, LAYER, LAYER),
    Reader("solution", make_solution, read_solution, ("solution.json", *LAYER), ("solution.json", *LAYER)),
    Reader("language model", make_language_model, read_language_model, ("config.json", "model.safetensors")),
    Reader("checkpoint", make_checkpoint, read_checkpoint, ("last.safetensors",)),
    Reader("run folder", make_run, read_run, ("config.json", "metrics.jsonl"), writes=True),
    Reader(
        "posterior",
        make_posterior,
        read_posterior,
        ("posterior.json", "posterior.safetensors"),
        ("posterior.json",),
    ),
    Reader(
        "surrogate",
        make_surrogate,
        read_surrogate,
        ("surrogate.json", *LAYER),
        ("surrogate.json", *LAYER),
    ),
]
