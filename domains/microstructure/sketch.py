"""A rough drawing of a cell becomes a clean periodic two-phase cell.

A drawing is grey, blotched and blurred, its lines wobble, strokes have gaps, and its edges do not meet their opposite
ones.  What is done with it, in this order:

    read        luminance, transparency on white paper, averaged over the pixels of each voxel of the model's grid
    normalise   the 2 % and 98 % quantiles of the grey values become 0 and 1; 1 is phase 1, by default the dark ink
    draft       an encoder that has learned from drawings, and the decoder of Janus
    touch       three periodic convolutions over drawing and draft, 2 x 2 voxels at a time, added to the draft's logits
    threshold   at 0, or where the wanted share of phase 1 is met to a voxel

The encoder starts from that of Janus and is trained with the touch on ``rough`` versions of the training cells to give
the true cell (cross-entropy of their sum; with a touch, the draft alone is then no cell); the decoder of Janus stays as
it is.  Periodic convolutions make opposite edges meet.  What the lines of a drawing do not say, nobody can: see
`wobbled`, and ``benchmarks/microstructure_sketch.py``, where a plain U-Net cleans as well as this.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from scipy import ndimage
from torch import Tensor, nn

from domains.microstructure.images import otsu
from domains.microstructure.images.pictures import as_a_viewer_shows, opened, upright
from domains.microstructure.janus import BLOCK, Janus
from domains.microstructure.loop import loop_settings
from separable.atomic_files import write_text
from separable.files import checked_text, filled, read_json, read_tensors, write_tensors
from separable.training import RunFolder, ShuffledRows, TrainingConfig, is_main_process, run_training

Array = NDArray[np.float64]
INKS = ("dark", "light")
LEAST_CONTRAST = 0.05  # of the full range of grey, between the two quantiles


def read_sketch(path: str | Path, size: Sequence[int], ink: str = "dark") -> Tensor:
    """A drawing on the grid of a model.

    Args:
        path: a PNG or any other picture that Pillow reads, of any size; it is stretched to the sides of the cell. A
            photograph is turned as its camera was held.
        size: ``(n_1, n_2)`` voxels; axis 0 is x, to the right, axis 1 is y, upwards.
        ink: what phase 1 is drawn as: ``"dark"`` on light paper, or ``"light"`` (as `write_cell` writes it).

    Returns:
        ``(n_1, n_2)`` float32 in [0, 1], 1 for phase 1, normalised.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a picture, has fewer pixels than voxels along a side, is nearly uniform, or says of
            numbers of floating point that white is zero.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "line.png"
        >>> Image.fromarray(np.repeat(np.array([[250] * 20 + [30] * 10 + [240] * 30], np.uint8), 40, 0)).save(path)
        >>> (read_sketch(path, (16, 16))[:, 0] > 0.5).int().tolist()
        [0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    if ink not in INKS:
        raise ValueError(f"ink: expected one of {', '.join(INKS)}, got {ink!r}")
    if len(size) != 2:
        raise ValueError(f"size: expected two numbers of voxels, since a drawing is flat, got {tuple(size)}")
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such drawing")
    with opened(Path(path)) as picture:
        drawn = _eight_bits(Path(path), upright(picture)).convert("RGBA")
    if drawn.width < size[0] or drawn.height < size[1]:
        raise ValueError(f"{path}: expected {size[0]} x {size[1]} pixels or more, got {drawn.width} x {drawn.height}")
    flat = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("F")
    grey = np.asarray(flat.resize((size[0], size[1]), Image.Resampling.BOX), dtype=np.float64)[::-1].T / 255
    try:
        return normalised(torch.from_numpy(1 - grey if ink == "dark" else grey.copy()).float())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _eight_bits(path: Path, picture: Image.Image) -> Image.Image:
    """The same with at most 8 bits a pixel: Pillow cuts grey values of 16 bits off at 255 instead of scaling them."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        values = as_a_viewer_shows(path, picture, values)
    return Image.fromarray((values / (257.0 if values.max() > 255 else 1.0)).clip(0, 255).astype(np.uint8))


def normalised(sketch: Tensor) -> Tensor:
    """Grey values stretched so that their 2 % and 98 % quantiles are 0 and 1, and cut there.

    Args:
        sketch: ``(n_1, n_2)``.

    Raises:
        ValueError: NaN, or quantiles nearer to each other than 5 % of the full range.

    Example:
        >>> normalised(torch.tensor([[0.2, 0.2], [0.2, 0.7]])).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """
    if sketch.ndim != 2 or not bool(torch.isfinite(sketch).all()):
        raise ValueError(f"sketch: expected finite numbers (n_1, n_2), got shape {tuple(sketch.shape)} or NaN")
    low, high = (float(np.quantile(sketch.numpy(), q)) for q in (0.02, 0.98))
    if high - low < LEAST_CONTRAST:
        raise ValueError(f"sketch: expected two shades at least {LEAST_CONTRAST} apart, got {low:.3f} to {high:.3f}")
    return ((sketch - low) / (high - low)).clamp(0, 1)


def rough(cell: Tensor, seed: int, strength: float = 1.0) -> Tensor:
    """What a hand might have drawn for a cell: a random, seeded, normalised drawing on the cell's own grid.

    Edges wobble by half a voxel or so (without regard to the seam of the cell, see `wobbled`), strokes have gaps and
    blots of two to four voxels, ink and paper are uneven, and the whole is blurred and speckled; how much of each is
    random too.

    Args:
        cell: ``(n_1, n_2)`` of 0 and 1.
        seed: same seed, same drawing.
        strength: 1 for the drawings that models are trained on; 0 changes nothing but the grey values.

    Returns:
        ``(n_1, n_2)`` float32 in [0, 1].

    Raises:
        ValueError: the cell is not flat, has other values than 0 and 1, or is all one phase.

    Example:
        >>> cell = torch.zeros(32, 32)
        >>> cell[8:20] = 1
        >>> drawing = rough(cell, seed=1)
        >>> 0.01 < float(((drawing > 0.5) != (cell > 0.5)).float().mean()) < 0.15
        True
    """
    rng = np.random.default_rng([seed, 104729])
    ink = wobbled(cell, seed, strength).numpy()
    shape = ink.shape
    for value in (0.0, 1.0):  # gaps in the strokes, blots on the paper
        for _ in range(rng.poisson(3 * strength)):
            place, radius = rng.uniform(0, shape), rng.uniform(1.0, 2.2)
            grid = np.indices(shape) - place[:, None, None]
            blob = np.exp(-(((grid**2).sum(0) / radius**2) ** 2))
            ink += blob * (value - ink)
    ink = ndimage.gaussian_filter(ink, strength * rng.uniform(0.3, 1.0))
    paper = 0.15 * strength * rng.uniform(0, 1) * (1 + _smooth(rng, shape, 16.0))
    stroke = 1 - 0.25 * strength * rng.uniform(0, 1) * (1 + _smooth(rng, shape, 2.0))
    drawn = paper + ink * (stroke - paper) + strength * rng.uniform(0.02, 0.1) * rng.standard_normal(shape)
    speckle = rng.random(shape) < 0.02 * strength * rng.uniform(0, 1)
    drawn[speckle] = rng.random(int(speckle.sum()))
    return normalised(torch.from_numpy(drawn).float())


def wobbled(cell: Tensor, seed: int, strength: float = 1.0) -> Tensor:
    """The lines of `rough` before ink and paper spoil them: what a cleaner without knowledge of the cell can hope for.

    Args:
        cell: ``(n_1, n_2)`` of 0 and 1.
        seed: as of `rough`.
        strength: as of `rough`.

    Returns:
        ``(n_1, n_2)`` float64 in [0, 1], grey at the edges.

    Raises:
        ValueError: as `rough`.

    Example:
        >>> float(wobbled(torch.eye(8), 0, strength=0.0).trace())
        8.0
    """
    ink = cell.detach().cpu().numpy().astype(np.float64)
    if ink.ndim != 2 or not np.isin(ink, (0.0, 1.0)).all() or ink.min() == ink.max():
        raise ValueError(f"cell: expected (n_1, n_2) of 0 and 1 with both phases, got shape {ink.shape}")
    if not strength >= 0:
        raise ValueError(f"strength: expected 0 or more, got {strength}")
    rng = np.random.default_rng([seed, 7919])
    shape = ink.shape
    wobble = strength * rng.uniform(0.2, 0.9)
    length = rng.uniform(2.0, 5.0)
    moved = np.indices(shape) + wobble * np.stack([_smooth(rng, shape, length) for _ in shape])
    return torch.from_numpy(ndimage.map_coordinates(ink, moved, order=1, mode="grid-wrap"))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Array:
    """A random field of unit variance that varies over ``length`` voxels; it does not repeat with the grid."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), length, mode="reflect")
    found: Array = (field - field.mean()) / max(field.std(), 1e-12)
    return found


def drawn_fraction(sketch: Tensor) -> float:
    """Share of a drawing that is inked, by Otsu's threshold: what a hand meant when it drew thick or thin.

    Example:
        >>> drawn_fraction(torch.tensor([[0.1, 0.9], [0.2, 0.1]]))
        0.25
    """
    values = sketch.numpy().astype(np.float64)
    return float((values > otsu(values)).mean())


def cut(logits: Tensor, volume_fraction: float | None = None) -> Tensor:
    """Cells of 0 and 1 from logits ``(B, n_1, n_2)``: where positive, or the highest share ``volume_fraction``.

    Raises:
        ValueError: the share is not between 0 and 1.

    Example:
        >>> cut(torch.tensor([[[-3.0, -1.0], [2.0, -2.0]]]), 0.5)
        tensor([[[0., 1.],
                 [1., 0.]]])
    """
    if volume_fraction is None:
        return (logits > 0).float()
    if not 0 < volume_fraction < 1:
        raise ValueError(f"volume_fraction: expected a share between 0 and 1, got {volume_fraction}")
    order = logits.flatten(1).argsort(dim=1, descending=True, stable=True)
    found = torch.zeros_like(logits.flatten(1))
    count = round(volume_fraction * order.shape[1])
    return found.scatter(1, order[:, :count], 1.0).reshape(logits.shape)


@dataclasses.dataclass(frozen=True)
class SketchConfig:
    """How a cleaner is made and trained.

    Attributes:
        touch: channels of the convolutions over drawing and draft; 0 leaves them out, and the draft is the answer.
        steps: optimiser steps.
        batch: drawings in a step, over all processes.
        rate: greatest learning rate of AdamW; it rises over 50 steps and falls as a cosine.
        drawings: number of drawings that it learns from, each of another random cell and shift.
        seed: of drawings, start values, batches and symmetries.
        accumulation: parts in which each process computes its drawings, one after another; more need less memory.
    """

    touch: int = 24
    steps: int = 2000
    batch: int = 32
    rate: float = 3e-3
    drawings: int = 6000
    seed: int = 0
    accumulation: int = 1

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.drawings) < 1 or self.touch < 0 or not self.rate > 0:
            raise ValueError(f"touch, steps, batch, rate, drawings: expected positive numbers, got {self}")

    @property
    def loop(self) -> TrainingConfig:
        """The same for the loop that all trainings share."""
        return loop_settings(self.steps, self.batch, self.rate, self.seed, warm_up=50, accumulation=self.accumulation)


class SketchCleaner(nn.Module):
    """Drawings to logits of clean cells; make it with `train_cleaner`.

    Args:
        janus: the model whose encoder it starts from and whose decoder it keeps; both are copied.
        touch: channels of the convolutions over drawing and draft, 0 for none.

    Raises:
        ValueError: the model is not one of flat cells.

    Example:
        >>> from domains.microstructure.janus import JanusConfig
        >>> janus = Janus(JanusConfig((16, 16), ("youngs_x",)), torch.zeros(1), torch.ones(1))
        >>> cleaner = SketchCleaner(janus)
        >>> cleaner.clean(torch.rand(2, 16, 16), volume_fraction=0.25).mean((1, 2))
        tensor([0.2500, 0.2500])
    """

    def __init__(self, janus: Janus, touch: int = 24) -> None:
        super().__init__()
        if len(janus.config.size) != 2:
            raise ValueError(f"janus: expected a model of flat cells, got one of {janus.config.size}")
        self.size = janus.config.size
        self.encoder, self.decoder = copy.deepcopy(janus.encoder), copy.deepcopy(janus.decoder)
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(True)
        for parameter in self.decoder.parameters():
            parameter.requires_grad_(False)
        self.touch: nn.Sequential | None = None
        if touch:
            shape = ((8, touch), (touch, touch), (touch, 4))
            layers = [nn.Conv2d(i, o, 3, padding=1, padding_mode="circular") for i, o in shape]
            nn.init.zeros_(layers[-1].weight)  # so that training starts at the draft
            nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
            self.touch = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])

    def forward(self, sketches: Tensor) -> Tensor:
        """Logits of phase 1, ``(B, n_1, n_2)``, for normalised drawings of the same shape.

        Raises:
            ValueError: sides that are not multiples of 8.
        """
        if sketches.ndim != 3 or any(n % BLOCK for n in sketches.shape[1:]):
            raise ValueError(
                f"sketches: expected (B, n_1, n_2) with sides that are multiples of {BLOCK}, "
                f"got {tuple(sketches.shape)}"
            )
        shown = sketches[:, None] - 0.5
        draft: Tensor = self.decoder(torch.sigmoid(self.encoder(sketches[:, None])))
        if self.touch is None:
            return draft[:, 0]
        both = nn.functional.pixel_unshuffle(torch.cat([shown, torch.sigmoid(draft) - 0.5], 1), 2)
        return (draft + nn.functional.pixel_shuffle(self.touch(both), 2))[:, 0]

    def clean(self, sketches: Tensor, volume_fraction: float | None = None) -> Tensor:
        """Cells ``(B, n_1, n_2)`` of 0 and 1, with the given share of phase 1 if there is one."""
        with torch.no_grad():
            return cut(self(sketches.float()), volume_fraction)

    def save(self, folder: str | Path) -> None:
        """Write ``cleaner.safetensors`` and ``cleaner.json`` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / "cleaner.safetensors", self.state_dict())
        width = 0 if self.touch is None else self.touch[0].out_channels
        write_text(folder / "cleaner.json", checked_text({"touch": width}))

    @classmethod
    def load(cls, folder: str | Path, janus: Janus) -> SketchCleaner:
        """Read what `save` wrote; ``janus`` is the model that it was made from.

        Raises:
            FileNotFoundError: the folder holds no cleaner.
            ValueError: it is damaged, or was made from another model.
        """
        folder = Path(folder)
        if not (folder / "cleaner.json").exists():
            raise FileNotFoundError(f"{folder}: no cleaner.json; `separable microstructure sketch --data` makes one")
        settings = read_json(folder / "cleaner.json", "sizes of a cleaner of drawings")
        tensors = read_tensors(folder / "cleaner.safetensors", "a cleaner of drawings")
        return filled(folder, settings, lambda: cls(janus, **settings), tensors).eval()


def train_cleaner(
    cells: Tensor,
    janus: Janus,
    config: SketchConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
) -> SketchCleaner:
    """Train a cleaner on drawings made by `rough`.

    Args:
        cells: ``(N, n_1, n_2)`` of 0 and 1, the cells to draw; keep those to be tested on out.
        janus: a trained model of such cells.
        config: of the training.
        run: the folder that gets losses, checkpoints and the cleaner; a training that was cut off goes on exactly.
        progress: whether to show a bar.

    Returns:
        The cleaner in evaluation mode.  Same cells, model and configuration on the same machine, same cleaner.

    Raises:
        ValueError: cells of another size than the model's.
        FloatingPointError, MemoryError, OSError, RuntimeError, TrainingInterrupted: as of
            `separable.training.run_training`.
    """
    config = config or SketchConfig()
    if tuple(cells.shape[1:]) != janus.config.size or len(cells) == 0:
        raise ValueError(f"cells: expected (N, {janus.config.size}), got {tuple(cells.shape)}")
    torch.manual_seed(config.seed)
    cleaner = SketchCleaner(janus, config.touch)
    drawn, truth = drawings(cells, config.drawings, config.seed)

    def load(places: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(places)
        return drawn[chosen].float() / 255, truth[chosen].float()

    def loss(model: SketchCleaner, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        shown, target = mirrored_alike(*batch)
        logits = model(shown)
        wrong = ((logits > 0) != (target > 0.5)).float().mean()
        return nn.functional.binary_cross_entropy_with_logits(logits, target), {"pixel_error": wrong}

    rows = ShuffledRows(len(drawn), load, config.seed)
    run_training(cleaner, loss, rows, config.loop, run=run, unit="drawings", progress=progress)
    if run and is_main_process():
        cleaner.save(run.path)
    return cleaner.eval()


def drawings(cells: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Drawings (0 to 255) of randomly chosen and shifted cells, and those cells; both ``(count, n_1, n_2)`` uint8.

    Example:
        >>> drawn, truth = drawings(torch.eye(16)[None], 3, seed=0)
        >>> drawn.shape, int(drawn.max()), truth.sum((1, 2)).tolist()
        (torch.Size([3, 16, 16]), 255, [16, 16, 16])
    """
    rng = np.random.default_rng([seed, 104729])
    shown, truth = [], []
    for _ in range(count):
        cell = cells[int(rng.integers(len(cells)))]
        cell = torch.roll(cell, [int(rng.integers(n)) for n in cell.shape], (0, 1))
        shown.append((255 * rough(cell, int(rng.integers(2**31)))).round().to(torch.uint8))
        truth.append(cell.to(torch.uint8))
    return torch.stack(shown), torch.stack(truth)


def mirrored_alike(sketches: Tensor, cells: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """One random mirror or exchange of the axes for a batch of drawings and their cells."""
    draws = torch.rand(3, generator=generator)
    flips = [axis for axis in (1, 2) if draws[axis] < 0.5]
    sketches, cells = sketches.flip(flips), cells.flip(flips)
    if sketches.shape[1] == sketches.shape[2] and draws[0] < 0.5:
        return sketches.mT, cells.mT
    return sketches, cells
