"""Janus: one latent that is decoded into a cell and read by a separable head, so that properties can be inverted.

    latent   q = sigmoid(encoder(cell))       (C, n_1/8, .., n_d/8), one vector of C coordinates for 8^d voxels
    cell     decoder(q) > 0                    n_1 x .. x n_d voxels
    log p    g(mean over the blocks of h(q))   h: C -> M and g: M -> P are separable layers

Source: Batley and Saha, "A unified generative-predictive framework for deterministic inverse design" (2025,
arXiv:2512.15746): encoder, decoder and a KHRONOS head on the squashed latent, trained on reconstruction, properties and
cycle consistency.  The paper does not give the sizes, the latent or the weights of the losses; those here are ours.

What differs, and why.  The published latent is one vector and its head one KHRONOS product over it
(``head="published"``: the same encoder and decoder with a dense layer before and after that vector).
An effective property is a mean over the cell of a local energy, and does not change when the cell is shifted or
repeated; so the latent here keeps its place in the cell, every convolution is periodic, and the head is a separable
function of each block, averaged, then a separable function of the averages.  A cell of another size can be read.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.microstructure.volumes import VolumeDecoder, VolumeEncoder, to_grid
from separable.atomic_files import write_text
from separable.atoms import BSpline
from separable.files import checked_text, filled, read_json, read_tensors, refusing, write_tensors
from separable.interactions import CanonicalPolyadic
from separable.layers import Khronos, SeparableLayer

BLOCK = 8  # voxels of a side that share one latent vector


@dataclasses.dataclass(frozen=True)
class JanusConfig:
    """Sizes of a Janus model.

    Attributes:
        size: voxels along each coordinate of the cells it is trained on, multiples of 8.
        properties: names of the P properties it predicts, see `properties.property_names`.
        latent: C, coordinates for each block of 8 voxels a side; with the published head, of the whole cell.
        width: channels of the encoder's first stage; the decoder has as many in its last.
        modes: M, averages between the two separable layers of the head.
        rank: of the head's layers.
        intervals: of the head's quadratic splines.
        head: ``"local"`` (ours) or ``"published"``, a KHRONOS product over one vector.
    """

    size: tuple[int, ...]
    properties: tuple[str, ...]
    latent: int = 12
    width: int = 16
    modes: int = 12
    rank: int = 16
    intervals: int = 4
    head: str = "local"

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or any(n % BLOCK or n < 2 * BLOCK for n in self.size):
            raise ValueError(f"size: expected two or three multiples of {BLOCK} from {2 * BLOCK} on, got {self.size}")
        if not self.properties:
            raise ValueError("properties: expected at least one name, got none")
        if self.head not in ("local", "published"):
            raise ValueError(f"head: expected 'local' or 'published', got {self.head!r}")


class Janus(nn.Module):
    """Encoder, decoder and separable head over one latent.

    Args:
        config: the sizes.
        centre: ``(P,)``, mean of the properties' logarithms over the training cells.
        spread: ``(P,)``, their standard deviation.

    Example:
        >>> model = Janus(JanusConfig((16, 16), ("conductivity_xx",)), torch.zeros(1), torch.ones(1))
        >>> model.predict(torch.ones(5, 16, 16)).shape, model.decode(model.encode(torch.ones(5, 16, 16))).shape
        (torch.Size([5, 1]), torch.Size([5, 16, 16]))
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: JanusConfig, centre: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.config = config
        dimensions, outputs = len(config.size), len(config.properties)
        if centre.shape != (outputs,) or spread.shape != (outputs,):
            raise ValueError(
                f"centre, spread: expected shape ({outputs},), got {tuple(centre.shape)}, {tuple(spread.shape)}"
            )
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        channels = config.latent if config.head == "local" else config.width
        self.encoder: nn.Module
        self.decoder: nn.Module
        if dimensions == 2:
            self.encoder, self.decoder = _encoder(config.width, channels), _Decoder(config.width, channels)
        else:
            self.encoder, self.decoder = VolumeEncoder(config.width, channels), VolumeDecoder(config.width, channels)
        atoms = BSpline(intervals=config.intervals, degree=2, domain=(0.0, 1.0))
        self.local: SeparableLayer | None = None
        self.whole: nn.Module
        if config.head == "local":
            self.local = SeparableLayer(
                config.latent, config.modes, atoms=atoms, interaction=CanonicalPolyadic(rank=config.rank, order=1)
            )
            self.whole = SeparableLayer(
                config.modes, outputs, atoms=atoms, interaction=CanonicalPolyadic(rank=config.rank, order=2)
            )
        else:
            blocks = tuple(n // BLOCK for n in config.size)
            dense = torch.Size(blocks).numel() * channels
            self.encoder = nn.Sequential(self.encoder, nn.Flatten(), nn.Linear(dense, config.latent))
            self.decoder = nn.Sequential(
                nn.Linear(config.latent, dense), nn.Unflatten(1, (channels, *blocks)), self.decoder
            )
            self.whole = Khronos(config.latent, outputs, grid_points=config.intervals + 2, rank=config.rank)

    def encode(self, cells: Tensor) -> Tensor:
        """Squashed latent ``(B, C, n_1/8, ..)`` in (0, 1) of cells ``(B, n_1, ..)`` with values in [0, 1].

        With the published head it is ``(B, C)``, and cells have the size of those trained on.
        """
        dimensions = len(self.config.size)
        if cells.ndim != dimensions + 1 or any(n % BLOCK for n in cells.shape[1:]):
            raise ValueError(
                f"cells: expected (B, {', '.join(['n'] * dimensions)}) with sides that are multiples of {BLOCK}, "
                f"got {tuple(cells.shape)}"
            )
        if self.config.head == "published" and tuple(cells.shape[1:]) != self.config.size:
            raise ValueError(f"cells: expected {self.config.size} voxels, got {tuple(cells.shape[1:])}")
        latent: Tensor = torch.sigmoid(self.encoder(cells[:, None]))
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Logits ``(B, n_1, ..)`` of phase 1; the cell is where they are positive."""
        logits: Tensor = self.decoder(latent)[:, 0]
        return logits

    def read(self, latent: Tensor) -> Tensor:
        """Standardised logarithms ``(B, P)`` of the properties, from the squashed latent: the separable head."""
        if self.local is not None:
            assert isinstance(self.whole, SeparableLayer)
            return _at(self.whole, torch.sigmoid(_mean_over_blocks(self.local, latent)))
        found: Tensor = self.whole(latent)
        return found

    def predict(self, cells: Tensor) -> Tensor:
        """Properties ``(B, P)`` of cells, in the units of the training data."""
        return self.physical(self.read(self.encode(cells)))

    def physical(self, standardised: Tensor) -> Tensor:
        """Properties from standardised logarithms."""
        return torch.exp(standardised * self.spread + self.centre)

    def standardised(self, values: Tensor) -> Tensor:
        """Standardised logarithms of properties."""
        return (torch.log(values) - self.centre) / self.spread

    def head_parameters(self) -> int:
        """Number of parameters of the separable head."""
        modules = [m for m in (self.local, self.whole) if m is not None]
        return sum(p.numel() for module in modules for p in module.parameters())

    def save(self, folder: str | Path) -> None:
        """Write ``janus.safetensors`` and ``janus.json`` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / "janus.safetensors", self.state_dict())
        write_text(folder / "janus.json", checked_text(dataclasses.asdict(self.config)))

    @classmethod
    def load(cls, folder: str | Path) -> Janus:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no model.
            ValueError: it is damaged, or one of an earlier version, with other layers.
        """
        folder = Path(folder)
        if not (folder / "janus.json").exists():
            raise FileNotFoundError(f"{folder}: no janus.json; `separable microstructure train` makes a model")
        settings = read_json(folder / "janus.json", "sizes of a model of cells")
        with refusing(folder, "a model of cells"):
            frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
            config = JanusConfig(**frozen)
            outputs = len(config.properties)
        tensors = read_tensors(folder / "janus.safetensors", "a model of cells")
        return filled(folder, settings, lambda: cls(config, torch.zeros(outputs), torch.ones(outputs)), tensors)


class _Blocks(nn.Conv2d):
    """A linear map of each block of 8 pixels a side and 2 more on every side, less 1/2.

    The half is taken from the bias and not from every pixel, which saves a copy of the cells.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__(1, outputs, BLOCK + 4, BLOCK)

    def forward(self, cells: Tensor) -> Tensor:
        assert self.bias is not None
        bias = self.bias - self.weight.flatten(1).sum(1) / 2
        return nn.functional.conv2d(nn.functional.pad(cells, (2,) * 4, mode="circular"), self.weight, bias, BLOCK)


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A periodic convolution."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="circular")


def _encoder(width: int, latent: int) -> nn.Sequential:
    """From pixels to the latent of blocks of 8, at once: a third of the time of a way over half blocks."""
    return nn.Sequential(
        _Blocks(width),
        nn.GELU(),
        _convolution(width, 2 * width),
        nn.GELU(),
        _convolution(2 * width, latent, kernel=1),
    )


def _mean_over_blocks(layer: SeparableLayer, latent: Tensor) -> Tensor:
    """Mean ``(B, M)`` over the blocks of an additive layer of splines, at a latent ``(B, C, ..)``.

    The layer is linear in the values of its splines: those are averaged, and its coefficients applied once a cell.
    """
    values = _spline_values(layer, latent.flatten(2), over_blocks=True)
    mean: Tensor = values.flatten(1) @ layer.expansion.coefficients[0].flatten(0, 1) @ layer.core
    return mean if layer.bias is None else mean + layer.bias


def _at(layer: SeparableLayer, x: Tensor) -> Tensor:
    """What a layer of splines gives at ``(B, D)``, by `_spline_values`."""
    factors = torch.einsum("bdk,dkq->bdq", _spline_values(layer, x), layer.expansion.coefficients[0])
    found = layer.interaction.contract(factors, layer.core)  # type: ignore[arg-type]
    return found if layer.bias is None else found + layer.bias


def _spline_values(layer: SeparableLayer, x: Tensor, over_blocks: bool = False) -> Tensor:
    """Values ``(B, D, K)`` of quadratic splines at ``(B, D)`` in [0, 1], or their means over blocks at ``(B, D, N)``.

    They are sums of 1, x and the squares of x - t where it is positive, t the breakpoints.  With few intervals rounding
    does not grow, and it is a quarter of the time of the layers themselves, which gather and scatter.
    """
    atom = layer.atoms[0]
    assert isinstance(atom, BSpline)
    powers = [x, *((x - start).relu_().square() for start in atom.breakpoints[:-1])]
    if over_blocks:
        powers = [power.mean(2) for power in powers]
    return torch.stack([torch.ones_like(powers[0]), *powers], -1) @ _from_powers(atom).to(x)


@functools.cache
def _from_powers(atom: BSpline) -> Tensor:
    """Matrix ``(K, K)``, float64, by which 1, x, (x - t_0)_+^2, .. make the values of open quadratic splines."""
    points = torch.linspace(0, 1, atom.size, dtype=torch.float64)
    squares = [torch.relu(points - start).square() for start in atom.breakpoints[:-1]]
    return torch.linalg.solve(torch.stack([torch.ones_like(points), points, *squares], -1), atom(points))


class _Decoder(nn.Module):
    """The way back: a convolution on the blocks, one on the half blocks, and the 4 pixels a side of each of those."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.blocks = _convolution(latent, 2 * width)
        self.halve = _convolution(2 * width, 4 * width, kernel=1)
        self.patches = _convolution(width, 2 * width)
        self.voxels = _convolution(2 * width, 16)
        self.squash = nn.GELU()

    def forward(self, latent: Tensor) -> Tensor:
        hidden = self.squash(self.blocks(latent))
        hidden = self.squash(to_grid(self.halve(hidden), 2, 2))
        hidden = self.squash(self.patches(hidden))
        return to_grid(self.voxels(hidden), 4, 2)
