"""Training of a Janus model: reconstruction, properties and cycle consistency in one objective.

    loss = v (read(q) - log p)^2 + cross-entropy(decode(q), cell)
         + w (read(encode(sigmoid(2 decode(q')))) - read(q'))^2

with q = encode(cell), q' = q + noise.  The third term asks that what the head reads from a latent is what it reads from
the cell which that latent decodes to; without it an inverted latent need not decode to a cell with its properties.
It is evaluated at every fourth step, which was measured to be enough.

Cells are shifted, mirrored and turned at random; the properties change places with the axes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domains.microstructure.data import CellData
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.loop import loop_settings
from domains.microstructure.properties import read_properties
from separable.training import RunFolder, ShuffledRows, TrainingConfig, is_main_process, run_training


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a Janus model is trained.

    Attributes:
        steps: optimiser steps.
        batch: cells in a step, over all processes.
        accumulation: parts in which each process computes its cells, one after another; more need less memory.
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
    accumulation: int = 1
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

    @property
    def loop(self) -> TrainingConfig:
        """The same for the loop that all trainings share."""
        return loop_settings(self.steps, self.batch, self.rate, self.seed, warm_up=200, accumulation=self.accumulation)


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
        run: the folder that gets losses, held-out errors, checkpoints and the model; a run that was cut off goes on
            from the last checkpoint exactly as if it had not been.
        progress: whether to show a bar.
        device: where to train.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        ValueError: the data do not fit the model, or hold values that are not positive.
        FloatingPointError, MemoryError, OSError, RuntimeError, TrainingInterrupted: as of
            `separable.training.run_training`; checkpoints that were written are whole.
    """
    config = config or TrainConfig()
    if tuple(data.cells.shape[1:]) != model_config.size:
        raise ValueError(f"size: expected cells of {model_config.size}, got {tuple(data.cells.shape[1:])}")
    values = read_properties(data.columns, model_config.properties)
    bad = ~(values > 0).all(1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(f"data: expected positive properties, got {values[row].tolist()} in row {row}")
    rows, held_out = split(data, config.held_out)
    logs = torch.log(values.double())
    size = model_config.size
    turns = axis_orders(model_config.properties, len(size))
    if model_config.head == "published":  # which reads cells of one size only
        turns = [turn for turn in turns if tuple(size[axis] for axis in turn[0]) == size]
    centre, spread = standard(logs[: len(rows)], turns)
    wanted = ((logs - centre) / spread).float()
    torch.manual_seed(config.seed)
    model = Janus(model_config, centre, spread)
    objective = _Objective(config, turns)

    def load(places: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(places)
        return data.cells[chosen].float(), wanted[chosen]

    def evaluate(trained: Janus) -> dict[str, float]:
        error, pixels = held_out_errors(trained, data, held_out)
        return {"median_error": error, "pixel_error": pixels}

    run_training(
        model,
        objective,
        ShuffledRows(len(rows), load, config.seed),
        config.loop,
        run=run,
        evaluate=evaluate,
        before_step=objective.before_step,
        unit="cells",
        device=device,
        progress=progress,
    )
    model = model.to("cpu").eval()
    if run and is_main_process():
        model.save(run.path)
    return model


def standard(logs: Tensor, turns: list[tuple[tuple[int, ...], list[int]]]) -> tuple[Tensor, Tensor]:
    """Mean and spread of properties over cells and their turned copies, ``(P,)`` float32.

    They are the same for all axes that change places, so that a standardised value means the same after a turn.
    """
    turned_too = torch.cat([logs[:, places] for _, places in turns])
    return turned_too.mean(0).float(), turned_too.std(0).float().clamp_min(1e-6)


class _Objective:
    """The loss of a batch of cells and their wanted readings."""

    def __init__(self, config: TrainConfig, turns: list[tuple[tuple[int, ...], list[int]]]) -> None:
        self.config, self.turns = config, turns
        self.with_cycle = False

    def before_step(self, share: float) -> None:
        """Whether the step has the cycle's term."""
        self.with_cycle = self.config.cycle > 0 and round(share * self.config.steps) % 4 == 0

    def __call__(self, model: Janus, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        cells, target = turned(*batch, self.turns)
        latent = model.encode(cells)
        prediction = _distance(model.read(latent), target, config.huber)
        picture = nn.functional.binary_cross_entropy_with_logits(model.decode(latent), cells)
        loss = config.properties * prediction + picture
        if self.with_cycle:
            moved = (latent + config.noise * torch.randn_like(latent)).clamp(0.0, 1.0)
            seen = model.read(model.encode(torch.sigmoid(2 * model.decode(moved))))
            loss = loss + config.cycle * _distance(seen, model.read(moved), config.huber)
        return loss, {"of_properties": prediction, "of_voxels": picture}


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
    cells: Tensor,
    values: Tensor,
    turns: list[tuple[tuple[int, ...], list[int]]],
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """One random symmetry for the whole batch: an order of the axes, mirrors, a shift; torch's own draws by default."""
    dimensions = cells.ndim - 1
    order, places = turns[int(torch.randint(len(turns), (), generator=generator))]
    cells = cells.permute(0, *(1 + axis for axis in order))
    mirrored = [1 + axis for axis in range(dimensions) if torch.rand((), generator=generator) < 0.5]
    shifts = [int(torch.randint(n, (), generator=generator)) for n in cells.shape[1:]]
    return torch.roll(cells.flip(mirrored), shifts, tuple(range(1, dimensions + 1))), values[:, places]
