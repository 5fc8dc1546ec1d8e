"""The published way: frames as tokens, the next frame as a sequence of them, sampled from a prefix-LM.

    tokens of a frame = finite scalar codes of its patches               K digits of L levels a patch
    P(next | now) = product over patches and digits, in raster order     prefix: the patches of the frames now

Every token is embedded by `LeviathanEmbedding`, whose digits are the K numbers of the code; there is one position a
patch, and its digits are drawn one after the other by `DigitHead`. The whole frame is drawn, not what a core missed.

After Batley and Saha (2026, arXiv:2603.12244), who say of it that rollouts neither drift to the mean nor lose the
spectrum. Their tokens, sizes and losses are not published in what we have; finite scalar quantisation is Mentzer et al.
(2023, arXiv:2309.15505). A forecast goes on from fields here, as every `Forecaster` does, and not from tokens, so each
step codes its frame again. Kept as a comparison.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domains.turbulence.digit_head import DigitHead
from domains.turbulence.finite_scalar import FiniteScalarAutoencoder
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.learned_forecaster import saved_settings, write_forecaster
from separable.files import read_tensors
from separable.layers import LeviathanEmbedding
from separable.sequence.transformer import Transformer, TransformerConfig


@dataclasses.dataclass(frozen=True)
class TokenConfig:
    """Sizes of a forecaster by tokens.

    Attributes:
        history: frames that it looks at.
        patch: points of a patch along each axis.
        digits: K, numbers that a patch becomes.
        levels: L of each.
        coder_width: channels of the autoencoder.
        width: features of a position of the transformer.
        layers: of it.
        heads: of its attention.
        rank: of the head that draws digits.
        seed_dim: of the embedding.
    """

    history: int = 1
    patch: int = 8
    digits: int = 8
    levels: int = 8
    coder_width: int = 64
    width: int = 96
    layers: int = 3
    heads: int = 4
    rank: int = 24
    seed_dim: int = 32

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ValueError(f"history: expected 1 or more, got {self.history}")


class TokenModel(nn.Module):
    """The prefix-LM over codes of frames.

    Args:
        config: sizes.
        positions: patches of a frame along each axis.
        generator: of the start values.
    """

    def __init__(
        self, config: TokenConfig, positions: tuple[int, ...], generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.length, self.prefix = math.prod(positions), config.history * math.prod(positions)
        self.embedding = LeviathanEmbedding(
            config.levels**config.digits,
            config.width,
            config.digits,
            config.seed_dim,
            heads=2,
            knots=8,
            rank=16,
            output_std=1.0,
            generator=generator,
        )
        self.places = nn.Parameter(0.02 * torch.randn(self.prefix + self.length, config.width, generator=generator))
        sizes = TransformerConfig(width=config.width, layers=config.layers, heads=config.heads)
        self.transformer = Transformer(sizes, generator)
        polynomials = min(6, config.levels - 1)
        self.head = DigitHead(config.width, config.digits, config.levels, config.rank, polynomials, generator)

    def forward(self, past: Tensor, codes: Tensor) -> Tensor:
        """Log-probabilities ``(B, P, K, L)`` of the digits of the next frame, each given all before it.

        Args:
            past: digits of the last frames, oldest first, ``(B, H P, K)``.
            codes: digits of the next one, ``(B, P, K)``.
        """
        known = self.embedding.of_digits(torch.cat([past, codes[:, :-1]], 1))
        # Position j of the suffix holds the patch before it; the first holds nothing but its place.
        x = torch.cat([known[:, : self.prefix], nn.functional.pad(known[:, self.prefix :], (0, 0, 1, 0))], 1)
        hidden = self.transformer(x + self.places, prefix=self.prefix)[:, self.prefix :]
        found: Tensor = self.head(hidden, codes)
        return found

    @torch.no_grad()
    def sample(self, past: Tensor, uniform: Tensor) -> Tensor:
        """Digits ``(B, P, K)`` of a next frame, with a cache; numbers in (0, 1) ``(B, P, K)`` decide the draw."""
        cache = self.transformer.cache(len(past), self.prefix + self.length)
        self.transformer(self.embedding.of_digits(past) + self.places[: self.prefix], prefix=self.prefix, cache=cache)
        codes = torch.zeros_like(uniform, dtype=torch.long)
        for place in range(self.length):
            x = self.places[self.prefix + place].expand(len(past), -1)
            if place:
                x = x + self.embedding.of_digits(codes[:, place - 1])
            codes[:, place] = self.head.sample(self.transformer(x[:, None], cache=cache)[:, 0], uniform[:, place])
        return codes


class TokenForecaster(Forecaster):
    """The forecaster of the head of this file, on the grid that it was made for.

    Args:
        config: its sizes.
        description: of the flow.
        centre: mean of the frames, in the flow's units.
        scale: their standard deviation.
        generator: of the start values.

    Raises:
        ValueError: the patch does not divide the points, or the flow has one dimension.

    Example:
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> config = TokenConfig(digits=4, coder_width=8, width=16, layers=1, heads=2)
        >>> forecaster = TokenForecaster(config, described, 0.0, 1.0)
        >>> dict(forecaster.forecast(torch.randn(1, 16, 16), members=3, steps=2).sizes)
        {'realization': 3, 'forecast_period': 2, 'y': 16, 'x': 16}
    """

    def __init__(
        self,
        config: TokenConfig,
        description: FlowDescription,
        centre: float,
        scale: float,
        generator: torch.Generator | None = None,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"scale: expected a number above 0, got {scale}")
        self.config, self.description, self.history = config, description, config.history
        self.centre, self.scale = float(centre), float(scale)
        self.coder = FiniteScalarAutoencoder(
            description.shape, config.patch, config.digits, config.levels, config.coder_width, generator
        )
        self.model = TokenModel(config, self.coder.positions, generator)
        self.device = torch.device("cpu")

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers, of the autoencoder and of the model."""
        return sum(p.numel() for part in (self.coder, self.model) for p in part.parameters())

    def to(self, device: torch.device | str) -> TokenForecaster:
        """Move the forecaster; frames are moved to it and back when it advances them."""
        self.device = torch.device(device)
        self.coder.to(self.device)
        self.model.to(self.device)
        return self

    def standardised(self, frames: Tensor) -> Tensor:
        """Frames in units of their standard deviation, on the device."""
        return (frames.to(self.device) - self.centre) / self.scale

    def codes(self, frames: Tensor) -> Tensor:
        """Digits ``(B, F P, K)`` of frames ``(B, F, *grid)`` in the flow's units, one frame after the other."""
        with torch.no_grad():
            found = self.coder.encode(self.standardised(frames).flatten(0, 1))
        return found.unflatten(0, frames.shape[:2]).flatten(1, 2)

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; on the grid of the description."""
        if tuple(frames.shape[2:]) != self.description.shape:
            raise ValueError(f"frames: expected {self.description.shape} points, got {tuple(frames.shape[2:])}")
        shape = (self.coder.length, self.config.digits)
        uniform = torch.from_numpy(np.stack([g.random(shape, dtype=np.float32) for g in generators])).to(self.device)
        with torch.inference_mode():
            codes = self.model.sample(self.codes(frames), uniform)
            return (self.coder.decode(codes) * self.scale + self.centre).to(frames.device)

    def coder_loss(self, frames: Tensor) -> Tensor:
        """Mean square error of the autoencoder on frames ``(B, F, *grid)``, in units of the variance."""
        fields = self.standardised(frames).flatten(0, 1)
        return (self.coder(fields) - fields).square().mean()

    def model_loss(self, frames: Tensor) -> Tensor:
        """Mean of ``- log P(digit)`` over the digits of the last of frames ``(B, H + 1, *grid)``, nats."""
        codes = self.codes(frames)
        past, wanted = codes[:, : self.model.prefix], codes[:, self.model.prefix :]
        found: Tensor = self.model(past, wanted).gather(-1, wanted[..., None])
        return -found.mean()

    def save(self, folder: str | Path) -> None:
        """Write ``forecaster.safetensors`` and ``forecaster.json`` into a folder; the same bits come back."""
        settings = {
            "kind": type(self).__name__,
            "config": dataclasses.asdict(self.config),
            "description": dataclasses.asdict(self.description),
            "centre": self.centre,
            "scale": self.scale,
        }
        write_forecaster(folder, settings, nn.ModuleDict({"coder": self.coder, "model": self.model}).state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> TokenForecaster:
        """Read a forecaster that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no forecaster.
            ValueError: it holds another kind, or one of another version.
        """
        folder = Path(folder)
        settings: dict[str, Any] = saved_settings(folder)
        if settings.get("kind") != cls.__name__:
            raise ValueError(f"{folder}: expected a {cls.__name__}, got {settings.get('kind')!r}")
        description = FlowDescription.from_settings(settings["description"])
        found = cls(TokenConfig(**settings["config"]), description, settings["centre"], settings["scale"])
        held = read_tensors(folder / "forecaster.safetensors", "a forecaster")
        try:
            nn.ModuleDict({"coder": found.coder, "model": found.model}).load_state_dict(held)
        except RuntimeError as problem:
            raise ValueError(
                f"{folder}: a forecaster of another version, with other layers; train it again"
            ) from problem
        return found
