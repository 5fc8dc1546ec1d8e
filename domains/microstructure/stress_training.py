"""Training of a stress decoder on the solver's fields, each seen shifted, mirrored and turned.

Loss: mean over cells and loads of the squared error of the stress over the mean square of that stress.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from domains.microstructure.elasticity import Material, elastic_response
from domains.microstructure.janus import Janus
from domains.microstructure.loop import loop_settings
from domains.microstructure.phases import checked_cells
from domains.microstructure.stress import StressConfig, StressDecoder, relative_error
from separable.training import RunFolder, ShuffledRows, TrainingConfig, is_main_process, run_training

_HALF = 1e-1, 1e2  # of the larger Young's modulus; half precision holds 6e-5 to 65504, and stress gathers at corners
_CONFINED = 1e3  # of the larger stiffness without strain to the sides


def turned(cells: Tensor, stress: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """One random symmetry of the square grid for cells and their stress: exchange of the axes, mirrors, a shift.

    A mirror turns the sign of the shear stress and of the stress under shear; an exchange of the axes exchanges the
    normal components and the normal loads.
    """
    draws = torch.rand(3, generator=generator)
    if cells.shape[1] == cells.shape[2] and draws[0] < 0.5:
        cells, stress = cells.mT, stress.mT[:, [1, 0, 2]][:, :, [1, 0, 2]]
    for axis in (1, 2):
        if draws[axis] < 0.5:
            sign = torch.tensor([1.0, 1.0, -1.0])
            cells, stress = cells.flip(axis), stress.flip(axis + 2) * (sign[:, None] * sign)[:, :, None, None]
    shifts = [int(torch.randint(n, (), generator=generator)) for n in cells.shape[1:]]
    return torch.roll(cells, shifts, (1, 2)), torch.roll(stress, shifts, (3, 4))


@dataclasses.dataclass(frozen=True)
class StressTraining:
    """How a stress decoder is trained.

    Attributes:
        cells: number of cells whose fields the solver gives, the first ones of the data.
        steps: optimiser steps.
        batch: cells in a step, over all processes.
        rate: greatest learning rate of AdamW; it rises over 50 steps and falls as a cosine.
        seed: of start values, batches and symmetries.
        accumulation: parts in which each process computes its cells, one after another; more need less memory.
    """

    cells: int = 1500
    steps: int = 2500
    batch: int = 8
    rate: float = 4e-3
    seed: int = 0
    accumulation: int = 1

    def __post_init__(self) -> None:
        if min(self.cells, self.steps, self.batch) < 1 or not self.rate > 0:
            raise ValueError(f"cells, steps, batch, rate: expected positive numbers, got {self}")

    @property
    def loop(self) -> TrainingConfig:
        """The same for the loop that all trainings share."""
        return loop_settings(self.steps, self.batch, self.rate, self.seed, warm_up=50, accumulation=self.accumulation)


def solved_stress(cells: Tensor, materials: tuple[Material, Material], *, progress: bool = False) -> Tensor:
    """Stress under unit strains by the solver, ``(B, 3, 3, n_1, n_2)``, in half precision to spare memory.

    Moduli in a unit that puts them beyond the range of half precision, such as steel in MPa, give it in float32.

    Args:
        cells: ``(B, n_1, n_2)`` of 0 and 1.
        materials: of phase 0 and phase 1.
        progress: whether to show a bar.

    Example:
        >>> solved_stress(torch.ones(1, 8, 8), (Material(0.1, 0.0), Material(1.0, 0.0)))[0, 0, :, 0, 0]
        tensor([1., 0., 0.], dtype=torch.float16)
    """
    largest = max(material.young for material in materials)
    # Where it cannot give way to the sides, a phase that keeps its volume is far stiffer than Young's modulus says.
    stiffest = max(float(material.stiffness(2)[0, 0]) for material in materials)
    kept = torch.float16 if _HALF[0] <= largest <= _HALF[1] and stiffest <= _CONFINED else torch.float32
    found = []
    for part in tqdm(cells.split(8), disable=not progress, unit="batch", desc="solver"):
        fields = elastic_response(part.float(), materials)[1]
        assert fields is not None
        found.append(fields.stress.to(kept))
    return torch.cat(found)


def train_stress(
    cells: Tensor,
    janus: Janus,
    config: StressConfig | None = None,
    training: StressTraining | None = None,
    *,
    stress: Tensor | None = None,
    run: RunFolder | None = None,
    progress: bool = True,
) -> StressDecoder:
    """Train a stress decoder on fields of the solver.

    Args:
        cells: ``(N, n_1, n_2)`` of 0 and 1; keep those to be tested on out.
        janus: the model whose latent it reads; it stays as it is.
        config: of the decoder; its ``latent`` must be the model's.
        training: of the training.
        stress: ``(N, 3, 3, n_1, n_2)``, the fields if they are known, see `solved_stress`.
        run: the folder that gets losses, checkpoints and the decoder; a training that was cut off goes on exactly.
        progress: whether to show bars.

    Returns:
        The decoder in evaluation mode.  Same cells and settings on the same machine, same decoder.

    Raises:
        ValueError: cells, fields, model and configuration that do not belong together.
        FloatingPointError, MemoryError, OSError, RuntimeError, TrainingInterrupted: as of
            `separable.training.run_training`.
    """
    config = config or StressConfig(latent=janus.config.latent)
    training = training or StressTraining()
    if config.latent != janus.config.latent:
        raise ValueError(f"latent: expected {janus.config.latent}, the model's, got {config.latent}")
    if tuple(cells.shape[1:]) != janus.config.size or cells.ndim != 3 or len(cells) == 0:
        raise ValueError(f"cells: expected flat cells (N, {janus.config.size}), got {tuple(cells.shape)}")
    cells = checked_cells(cells[: training.cells].float())
    if stress is None:
        stress = solved_stress(cells, config.materials(), progress=progress)
    stress = stress[: training.cells]
    if tuple(stress.shape) != (len(cells), 3, 3, *cells.shape[1:]):
        raise ValueError(f"stress: expected {(len(cells), 3, 3, *cells.shape[1:])}, got {tuple(stress.shape)}")
    torch.manual_seed(training.seed)
    decoder = StressDecoder(config)

    def load(places: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(places)
        return cells[chosen], stress[chosen].float()

    def loss(model: StressDecoder, batch: tuple[Tensor, Tensor]) -> Tensor:
        shown, truth = turned(*batch)
        with torch.no_grad():
            latent = janus.encode(shown)
        return relative_error(model(latent, shown), truth).square().mean()

    rows = ShuffledRows(len(cells), load, training.seed)
    run_training(decoder, loss, rows, training.loop, run=run, unit="cells", progress=progress)
    if run and is_main_process():
        decoder.save(run.path)
    return decoder.eval()
