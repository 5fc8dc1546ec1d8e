"""Training of head B: the innovations of a trained core are coded, then a prefix-LM learns their tokens.

The code (deviations of modes, distributions of coefficients) is set from innovations of the training samples, changed
by random symmetries of the flow. The loss is ``- log(P(code) bins)``, the mean over the codes of a window: 0 for a
model that knows nothing, less by as much as the state and the other codes tell, in nats a code. At last the forecaster
runs on its own for a while, and the size of its innovations is set so that its spectrum stays that of the flow
(`held_spectrum`).
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from domains.turbulence.descent import DescentConfig, descend
from domains.turbulence.held_spectrum import ROUNDS, hold_spectrum
from domains.turbulence.innovation_forecaster import InnovationConfig, InnovationForecaster
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.readers import FlowData, Windows
from domains.turbulence.symmetries import Symmetries
from domains.turbulence.training_data import HeldOutLooks, split, symmetries_for, training_part
from separable.training import RunFolder, is_main_process

_TOGETHER = 64  # windows that the core sees at once where the code is set


@dataclasses.dataclass(frozen=True)
class InnovationTrainConfig:
    """How head B is trained.

    Attributes:
        model: sizes of the code and of the model of tokens.
        descent: how long and how fast.
        examples: windows from which the code is set.
        spectrum_steps: of the runs by which the spectrum is held, see `held_spectrum`, after the minutes of the
            descent; 0 to leave the innovations as large as errors of one step are.
        spectrum_runs: how many of them, side by side.
    """

    model: InnovationConfig = dataclasses.field(default_factory=InnovationConfig)
    descent: DescentConfig = dataclasses.field(
        default_factory=lambda: DescentConfig(batch=4, optimiser="soap", rate=4e-3)
    )
    examples: int = 2000
    spectrum_steps: int = 30
    spectrum_runs: int = 96

    def __post_init__(self) -> None:
        for name, least in (("examples", 2), ("spectrum_steps", 0), ("spectrum_runs", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected {least} or more, got {getattr(self, name)}")


def train_innovations(
    core: LearnedForecaster,
    data: FlowData,
    config: InnovationTrainConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> InnovationForecaster:
    """Train the innovations of a core on all but the held-out samples.

    Args:
        core: a trained forecaster without noise; its numbers are not changed, and it is on the CPU afterwards, as the
            forecaster that is returned holds it. Hold out the same samples as in its training.
        data: of the flow that it was trained on.
        config: of the training.
        run: the folder that gets losses, held-out scores, checkpoints and the forecaster; a run that was cut off goes
            on from its last checkpoint.
        progress: whether to show a bar with the time left.
        device: where to train.

    Returns:
        The forecaster, on the CPU.

    Raises:
        ValueError: the data are not those of the core, or too few.
        FloatingPointError: the loss is no longer finite; the last checkpoint is kept.
    """
    config = config or InnovationTrainConfig()
    core.check(data)
    rows, held_out = split(data, config.descent.held_out)
    generator = torch.Generator().manual_seed(config.descent.seed)
    training = training_part(data, rows)
    forecaster = InnovationForecaster(core, config.model.completed(training), generator).to(device)
    windows = training.windows(core.history, 1)
    symmetries = symmetries_for(data, config.descent.symmetries)
    forecaster.fit(_innovations(forecaster, windows, symmetries, config.examples, generator), generator)
    looks = HeldOutLooks(data, held_out, core.history, forecaster.scale)
    descend(
        forecaster.network,
        lambda frames, _: forecaster.loss(frames),
        config.descent,
        lambda share: windows,
        symmetries,
        lambda: looks.scores(forecaster, config.descent.seed),
        run=run,
        progress=progress,
    )
    if config.spectrum_steps:
        ahead = min(math.ceil(config.spectrum_steps / ROUNDS), training.fields.shape[1] - core.history)
        followed = training.windows(core.history, ahead)
        hold_spectrum(forecaster, followed, config.spectrum_runs, config.descent.seed, progress=progress)
    forecaster.to("cpu")
    if run is not None and is_main_process():
        forecaster.save(run.path)
    return forecaster


def _innovations(
    forecaster: InnovationForecaster, windows: Windows, symmetries: Symmetries, count: int, generator: torch.Generator
) -> Tensor:
    """Coefficients ``(count, ...)`` of innovations of random windows."""
    found = []
    for begin in range(0, count, _TOGETHER):
        number = min(_TOGETHER, count - begin)
        chosen = torch.randint(len(windows), (number,), generator=generator).tolist()
        frames = symmetries(torch.stack([torch.cat(windows[index]) for index in chosen]), generator)
        mean, _ = forecaster.expected(frames[:, :-1])
        found.append(forecaster.standardised(frames[:, -1]) - mean)
    return torch.cat(found)
