"""Training of the forecaster by tokens in two stages: the code of a frame, then the prefix-LM over its tokens."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from domains.turbulence.descent import DescentConfig, descend
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.readers import FlowData, Windows
from domains.turbulence.token_forecaster import TokenConfig, TokenForecaster
from domains.turbulence.training_data import HeldOutLooks, split, symmetries_for, training_part
from separable.training import RunFolder, is_main_process


@dataclasses.dataclass(frozen=True)
class TokenTrainConfig:
    """How the forecaster by tokens is trained.

    Attributes:
        model: its sizes.
        coder: how long and how fast the autoencoder is trained.
        tokens: the same of the prefix-LM; its held-out samples and symmetries are those of both, and so is its seed for
            the start values. The windows of each stage are drawn by its own seed.
    """

    model: TokenConfig = dataclasses.field(default_factory=TokenConfig)
    coder: DescentConfig = dataclasses.field(default_factory=lambda: DescentConfig(minutes=3.0))
    tokens: DescentConfig = dataclasses.field(default_factory=lambda: DescentConfig(minutes=7.0))


def train_tokens(
    data: FlowData,
    config: TokenTrainConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TokenForecaster:
    """Train a forecaster by tokens on all but the held-out samples.

    Args:
        data: what was read, on a periodic plane box.
        config: of the training.
        run: the folder that gets losses, held-out scores, checkpoints and the forecaster; a run that was cut off goes
            on from its last checkpoint.
        progress: whether to show a bar with the time left.
        device: where to train.

    Returns:
        The forecaster, on the CPU.

    Raises:
        ValueError: the data do not fit.
        FloatingPointError: a loss is no longer finite; the last checkpoint is kept.
    """
    config = config or TokenTrainConfig()
    rows, held_out = split(data, config.tokens.held_out)
    training = training_part(data, rows)
    statistics = FrameStatistics.of(training, range(len(training)), mirrored=False)
    generator = torch.Generator().manual_seed(config.tokens.seed)
    description = FlowDescription.of(data)
    forecaster = TokenForecaster(config.model, description, statistics.centre, statistics.scale, generator)
    forecaster.to(device)
    windows = training.windows(forecaster.history, 1)
    symmetries = symmetries_for(data, config.tokens.symmetries)
    held = data.load(held_out)[:, :: max(1, data.fields.shape[1] // 8)]

    looks = HeldOutLooks(data, held_out, forecaster.history, forecaster.scale)

    def same(share: float) -> Windows:
        return windows

    def coded() -> dict[str, float]:
        return {"coder_error": float(forecaster.coder_loss(held))}

    def look() -> dict[str, float]:
        return looks.scores(forecaster, config.tokens.seed)

    coding = None if run is None else RunFolder(run.path / "coder", config.coder, config.coder.seed)

    def of_coder(frames: Tensor, _: float) -> Tensor:
        return forecaster.coder_loss(frames)

    def of_model(frames: Tensor, _: float) -> Tensor:
        return forecaster.model_loss(frames)

    descend(forecaster.coder, of_coder, config.coder, same, symmetries, coded, run=coding, progress=progress)
    descend(forecaster.model, of_model, config.tokens, same, symmetries, look, run=run, progress=progress)
    forecaster.to("cpu")
    if run is not None and is_main_process():
        forecaster.save(run.path)
    return forecaster
