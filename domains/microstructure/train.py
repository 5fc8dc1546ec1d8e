"""Training of a Janus model: reconstruction, properties and cycle consistency in one objective.

    loss = v (read(q) - log p)^2 + cross-entropy(decode(q), cell)
         + w (read(encode(sigmoid(2 decode(q')))) - read(q'))^2

with q = encode(cell), q' = q + noise.  The third term asks that what the head reads from a latent is what it reads from
the cell which that latent decodes to; without it an inverted latent need not decode to a cell with its properties.
It is evaluated at every fourth step, which was measured to be enough.

Cells are shifted, mirrored and turned at random; the properties change places with the axes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from domains.microstructure.data import CellData
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.properties import read_properties
from separable.files import read_tensors, refusing, write_tensors
from separable.training import RunFolder
from separable.training.run_lock import sole_user


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a Janus model is trained.

    Attributes:
        steps: optimiser steps.
        batch: cells in a step.
        rate: greatest learning rate of AdamW; it rises over 200 steps and falls as a cosine.
        properties: weight v of the properties.
        huber: error of a property, in standard deviations, from which the loss grows in proportion instead of as a
            square; None squares them all. For properties with long tails, such as permeability near percolation.
        cycle: weight w of cycle consistency.
        noise: standard deviation of the latent's noise in the cycle term.
        held_out: share of the cells never trained on, the last rows of the data set.
        seed: of start values, batches and symmetries.
    """

    steps: int = 12000
    batch: int = 64
    rate: float = 4e-3
    properties: float = 1.0
    huber: float | None = None
    cycle: float = 0.3
    noise: float = 0.05
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.rate > 0:
            raise ValueError(f"steps, batch, rate: expected positive numbers, got {self}")
        if self.huber is not None and not self.huber > 0:
            raise ValueError(f"huber: expected a positive number or None, got {self.huber}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: expected a share between 0 and 1, got {self.held_out}")


def split(data: CellData, held_out: float) -> tuple[range, range]:
    """Rows to train on and rows to test on.

    Example:
        >>> import types
        >>> split([0] * 10, 0.2)
        (range(0, 8), range(8, 10))
    """
    first = len(data) - max(1, round(held_out * len(data)))
    if first < 1:
        raise ValueError(f"data: expected rows to train on beside the held-out ones, got {len(data)} rows")
    return range(first), range(first, len(data))


def train_janus(
    data: CellData,
    model_config: JanusConfig,
    config: TrainConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> Janus:
    """Train a model on all but the held-out cells.

    Args:
        data: cells and properties, which must hold the model's.
        model_config: the model's sizes.
        config: of the training.
        run: the folder that gets losses, held-out errors and checkpoints; a run that was cut off goes on from the last
            checkpoint exactly as if it had not been.
        progress: whether to show a bar.
        device: where to train.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        ValueError: the data do not fit the model, or hold values that are not positive.
        FloatingPointError: the loss became NaN; the last checkpoint is kept.
        RuntimeError: another process trains in this folder.
    """
    with contextlib.ExitStack() as held:
        if run:
            held.enter_context(sole_user(run.path))
        return _trained(data, model_config, config or TrainConfig(), run, progress, device)


def _trained(
    data: CellData,
    model_config: JanusConfig,
    config: TrainConfig,
    run: RunFolder | None,
    progress: bool,
    device: torch.device | str,
) -> Janus:
    if tuple(data.cells.shape[1:]) != model_config.size:
        raise ValueError(f"size: expected cells of {model_config.size}, got {tuple(data.cells.shape[1:])}")
    values = read_properties(data.columns, model_config.properties)
    bad = ~(values > 0).all(1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(f"data: expected positive properties, got {values[row].tolist()} in row {row}")
    rows, held_out = split(data, config.held_out)
    logs = torch.log(values.double())
    centre, spread = logs[: len(rows)].mean(0).float(), logs[: len(rows)].std(0).float().clamp_min(1e-6)
    wanted = ((logs - centre) / spread).float().to(device)
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    model = Janus(model_config, centre, spread).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=1e-4)
    cells = data.cells.to(device)
    turns = axis_orders(model_config.properties, len(model_config.size))
    first = _resume(run, model, optimiser, generator) if run else 0
    every = max(1, config.steps // 20)
    for step in tqdm(range(first, config.steps), initial=first, total=config.steps, disable=not progress, unit="step"):
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = config.rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        chosen = torch.randint(len(rows), (config.batch,), generator=generator)
        batch, target = turned(cells[chosen].float(), wanted[chosen], turns, generator)
        latent = model.encode(batch)
        prediction = _distance(model.read(latent), target, config.huber)
        picture = nn.functional.binary_cross_entropy_with_logits(model.decode(latent), batch)
        loss = config.properties * prediction + picture
        if config.cycle > 0 and step % 4 == 0:
            noise = torch.randn(latent.shape, generator=generator).to(device)
            moved = (latent + config.noise * noise).clamp(0.0, 1.0)
            seen = model.read(model.encode(torch.sigmoid(2 * model.decode(moved))))
            loss = loss + config.cycle * _distance(seen, model.read(moved), config.huber)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss: expected a number at step {step}, got {loss.item()}; try a smaller rate")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if run and ((step + 1) % every == 0 or step + 1 == config.steps):
            error, pixels = held_out_errors(model, data, held_out)
            run.log(step=step + 1, loss=loss.item(), median_error=error, pixel_error=pixels)
            _checkpoint(run, model, optimiser, generator, step + 1)
    model = model.to("cpu").eval()
    if run:
        model.save(run.path)
    return model


def _distance(read: Tensor, wanted: Tensor, huber: float | None) -> Tensor:
    """What an error costs: its square, or by Huber's loss its size where it is large."""
    if huber is None:
        return nn.functional.mse_loss(read, wanted)
    return nn.functional.smooth_l1_loss(read, wanted, beta=huber)


def held_out_errors(model: Janus, data: CellData, rows: range) -> tuple[float, float]:
    """Median relative error of the properties and share of wrong voxels after a round trip, over the rows."""
    cells = data.cells[rows.start : rows.stop].float()
    values = read_properties(data.columns, model.config.properties)[rows.start : rows.stop]
    device = model.centre.device
    errors, wrong = [], []
    with torch.no_grad():
        for part, truth in zip(cells.split(128), values.split(128), strict=True):
            latent = model.encode(part.to(device))
            errors.append((model.physical(model.read(latent)).cpu() / truth - 1).abs())
            wrong.append(((model.decode(latent).cpu() > 0) != (part > 0.5)).float().flatten(1).mean(1))
    return float(torch.cat(errors).median()), float(torch.cat(wrong).mean())


def axis_orders(properties: Sequence[str], dimensions: int) -> list[tuple[tuple[int, ...], list[int]]]:
    """Orders of the axes under which the set of properties is kept, each with the properties' new places.

    Example:
        >>> axis_orders(["youngs_x", "youngs_y"], 2)
        [((0, 1), [0, 1]), ((1, 0), [1, 0])]
        >>> axis_orders(["youngs_x"], 2)
        [((0, 1), [0])]
    """
    found = []
    for order in itertools.permutations(range(dimensions)):
        # Axis k of the turned cell is axis order[k] of the given one.
        renamed = {axis: "xyz"[order["xyz".index(axis)]] for axis in "xyz"[:dimensions]}
        sources = []
        for name in properties:
            kind, underline, axes = name.rpartition("_")
            if name == "volume_fraction":
                sources.append(name)
            else:
                sources.append(kind + underline + "".join(sorted(renamed[axis] for axis in axes)))
        if set(sources) <= set(properties):
            found.append((order, [list(properties).index(name) for name in sources]))
    return found


def turned(
    cells: Tensor, values: Tensor, turns: list[tuple[tuple[int, ...], list[int]]], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One random symmetry for the whole batch: an order of the axes, mirrors, a shift."""
    dimensions = cells.ndim - 1
    order, places = turns[int(torch.randint(len(turns), (), generator=generator))]
    cells = cells.permute(0, *(1 + axis for axis in order))
    mirrored = [1 + axis for axis in range(dimensions) if torch.rand((), generator=generator) < 0.5]
    shifts = [int(torch.randint(n, (), generator=generator)) for n in cells.shape[1:]]
    return torch.roll(cells.flip(mirrored), shifts, tuple(range(1, dimensions + 1))), values[:, places]


def _checkpoint(
    run: RunFolder, model: Janus, optimiser: torch.optim.Optimizer, generator: torch.Generator, step: int
) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value.contiguous() for name, value in state.items()}
    tensors |= {"generator": generator.get_state(), "step": torch.tensor(step)}
    write_tensors(run.path / "checkpoint.safetensors", tensors)


def _resume(run: RunFolder, model: Janus, optimiser: torch.optim.Optimizer, generator: torch.Generator) -> int:
    """Load the last checkpoint, if there is one, and return the number of steps done."""
    path = Path(run.path) / "checkpoint.safetensors"
    if not path.exists():
        return 0
    tensors = read_tensors(path, "a checkpoint of a training")
    with refusing(path, "a checkpoint of this training"):
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, entry = name.split(".")
                state.setdefault(int(index), {})[entry] = value
        shapes = [tuple(p.shape) for p in model.parameters()]
        if state and {i: tuple(s["exp_avg"].shape) for i, s in state.items()} != dict(enumerate(shapes)):
            raise ValueError("the moments of its optimiser are not those of the model")
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        generator.set_state(tensors["generator"])
        return int(tensors["step"])
