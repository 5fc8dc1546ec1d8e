"""Cells with wanted properties: inversion of a trained Janus model, distinct designs, refused where physics forbids.

From many known cells near the targets at once, Gauss-Newton steps of least norm move the latent a (q = sigmoid(a)),

    a <- a + J^T (J J^T + eps I)^-1 r,      r = log target - log p,      J = d log p / d a,

where p is read *through the decoded cell*, p = read(encode(soft(decode(q)))), so that the latent stays one that
decodes to a cell with its properties; ``through="head"`` reads the latent alone, the published inversion.  A start is a
cell whose properties a solver has found, so the model's error there is known and is subtracted all the way: the model
is trusted for differences only, of properties and of the picture: what the way through the latent gets wrong of the
start is put back.  The designs are thresholded, read again, and the best distinct ones are returned.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.connectivity import is_connected
from domains.microstructure.data import CellData
from domains.microstructure.janus import Janus
from domains.microstructure.materials import Materials
from domains.microstructure.phases import checked_cells
from domains.microstructure.properties import read_properties
from domains.microstructure.reachable import require_reachable
from domains.microstructure.train import axis_orders
from separable.atomic_files import write_text
from separable.files import checked_text, read_json, read_tensors, refusing, write_tensors

RESTORED = 0.2  # logits of a voxel of the start that the decoder got wrong; more was measured to be worse, as was less


@dataclasses.dataclass(frozen=True)
class Library:
    """Cells whose properties are known: where designs start from.

    Attributes:
        cells: ``(N, n_1, ..)`` uint8.
        values: ``(N, P)``, the model's properties of each, by the solver.
        fractions: ``(N,)``, share of phase 1.
        materials: the phases that the properties belong to.
    """

    cells: Tensor
    values: Tensor
    fractions: Tensor
    materials: Materials

    @classmethod
    def of(cls, data: CellData, model: Janus, rows: range) -> Library:
        """The given rows of a data set."""
        part = slice(rows.start, rows.stop)
        values = read_properties(data.columns, model.config.properties)[part]
        return cls(data.cells[part], values, data.columns["volume_fraction"][part], data.config.materials)

    def __len__(self) -> int:
        return len(self.cells)


@dataclasses.dataclass(frozen=True)
class Designs:
    """Distinct designs for one set of targets, best first.

    Attributes:
        cells: ``(S, n_1, ..)`` of 0 and 1.
        predicted: ``(S, T)``, what the model expects of them.
        targets: name and wanted value of each property, T of them.
        errors: ``(S,)``, greatest relative distance of ``predicted`` from a target or its band.
        logits: ``(S, n_1, ..)``, whose positive part is the cell; what refinement moves.
        warnings: sentences a person should read, such as a target far from every known cell.
    """

    cells: Tensor
    predicted: Tensor
    targets: dict[str, float]
    errors: Tensor
    logits: Tensor
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)


class Designer:
    """Inverts a Janus model.

    Args:
        model: a trained model; it is put into evaluation mode, and its parameters take no gradients afterwards.
        library: cells to start from, with known properties.

    Raises:
        ValueError: the library's cells do not fit the model.
    """

    def __init__(self, model: Janus, library: Library) -> None:
        if tuple(library.cells.shape[1:]) != model.config.size:
            raise ValueError(f"library: expected cells of {model.config.size}, got {tuple(library.cells.shape[1:])}")
        self.model, self.library = model.eval(), library
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        # A known cell is known with its axes in any other order, too: row k N + i is cell i in order k.
        size = model.config.size
        turns = axis_orders(model.config.properties, len(size))
        self.turns = [(order, places) for order, places in turns if tuple(size[axis] for axis in order) == size]
        self.known = model.standardised(torch.cat([library.values[:, places] for _, places in self.turns]).float())
        self.fractions = library.fractions.float().repeat(len(self.turns))
        self._usual: dict[tuple[int, ...], float] = {}  # how near known cells are to each other, by properties
        with torch.no_grad():
            parts = torch.arange(len(self.known)).split(256)
            read = [model.read(model.encode(self._turned(part))) for part in parts]
        self.offsets = self.known - torch.cat(read)

    def save(self, folder: str | Path) -> None:
        """Write the model and the library into a folder."""
        self.model.save(folder)
        tensors = {
            "cells": torch.from_numpy(np.packbits(self.library.cells.numpy(), axis=-1)),
            "values": self.library.values.contiguous(),
            "fractions": self.library.fractions.contiguous(),
        }
        write_tensors(Path(folder) / "library.safetensors", tensors)
        write_text(Path(folder) / "materials.json", checked_text(dataclasses.asdict(self.library.materials)))

    @classmethod
    def load(cls, folder: str | Path) -> Designer:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no model or no library.
            ValueError: one of them is damaged, or they do not belong together.
        """
        model = Janus.load(folder)
        path = Path(folder) / "library.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"{folder}: no library.safetensors; `separable microstructure train` makes it")
        tensors = read_tensors(path, "a library of cells")
        with refusing(folder, "a library of cells beside its model"):
            held, values, fractions = (tensors[name] for name in ("cells", "values", "fractions"))
            size = model.config.size
            shapes = (held.shape[1:], values.shape, fractions.shape)
            packed = (*size[:-1], -(-size[-1] // 8))
            if shapes != (packed, (len(held), len(model.config.properties)), (len(held),)) or not len(held):
                raise ValueError(f"a model of cells {size} and {len(held)} cells of other shapes {shapes}")
            cells = torch.from_numpy(np.unpackbits(held.numpy(), axis=-1, count=size[-1]))
            materials = Materials.from_settings(read_json(Path(folder) / "materials.json", "phases"))
            return cls(model, Library(cells, values, fractions, materials))

    def refuse_impossible(self, targets: Mapping[str, float], fraction: float | None) -> None:
        """Raise if a target is not a property of the model or lies outside what physics allows.

        Raises:
            ValueError: naming the property and the bound.
        """
        names = self.model.config.properties
        if not targets:
            raise ValueError(f"targets: expected one or more of {', '.join(names)}, got none")
        if fraction is not None and not 0 < fraction < 1:
            raise ValueError(f"volume_fraction: expected a share between 0 and 1, got {fraction}")
        for name in targets:
            if name not in names:
                raise ValueError(f"target: expected one of {', '.join(names)}, got {name!r}")
        require_reachable(targets, self.library.materials, self.model.config.size, fraction)

    def design(
        self,
        targets: Mapping[str, float],
        *,
        volume_fraction: float | None = None,
        bands: Mapping[str, float] | None = None,
        count: int = 8,
        starts: int | None = None,
        images: Tensor | None = None,
        image_values: Tensor | None = None,
        symmetry: str = "none",
        connected: bool = False,
        separation: float = 0.1,
        steps: int = 3,
        through: str = "cell",
    ) -> Designs:
        """Several distinct cells with the wanted properties.

        Args:
            targets: wanted value of each named property.
            volume_fraction: share of phase 1 that every design has, to a voxel, or with a symmetry to a voxel and its
                images; None leaves it free.
            bands: half-width about a target, in its unit, within which a value is as good as exact.
            count: number of designs wanted.
            starts: number of starting cells; by default 4 for each design.
            images: ``(S, n_1, ..)`` cells of the user's own to start from instead of the library's.
            image_values: ``(S, P)`` their properties by the solver; without them the model's own values are used.
            symmetry: ``"none"``, ``"mirror"`` (each axis) or ``"cubic"`` (mirrors and exchange of the axes).
            connected: whether phase 1 has to be one periodic piece.
            separation: least share of voxels in which two designs differ, over all shifts of one against the other.
            steps: Gauss-Newton steps.
            through: ``"cell"`` reads properties through the decoded cell, ``"head"`` from the latent (published).

        Returns:
            At most ``count`` designs, fewer if no more distinct ones were found.

        Raises:
            ValueError: a target that no cell can have, an unknown name or option, exchanged axes of different length,
                or cells to start from without one of the wanted properties.
        """
        if symmetry not in ("none", "mirror", "cubic"):
            raise ValueError(f"symmetry: expected 'none', 'mirror' or 'cubic', got {symmetry!r}")
        if symmetry == "cubic" and len(set(self.model.config.size)) > 1:
            raise ValueError(f"symmetry: 'cubic' exchanges axes of one length, got cells of {self.model.config.size}")
        if through not in ("cell", "head"):
            raise ValueError(f"through: expected 'cell' or 'head', got {through!r}")
        if count < 1 or steps < 0:
            raise ValueError(f"count, steps: expected positive numbers, got {count}, {steps}")
        if starts is not None and starts < 1:
            raise ValueError(f"starts: expected a positive number of cells to start from, got {starts}")
        self.refuse_impossible(targets, volume_fraction)
        for name, half_width in (bands or {}).items():
            if name not in targets or not half_width >= 0:
                raise ValueError(f"bands: expected 0 or more about {', '.join(targets)}, got {name} {half_width}")
        names = list(self.model.config.properties)
        places = [names.index(name) for name in targets]
        size = self.model.config.size
        if images is not None and tuple(checked_cells(images).shape[1:]) != size:
            raise ValueError(f"images: expected cells of {size}, got {tuple(images.shape[1:])}")
        if image_values is not None and (images is None or image_values.shape != (len(images), len(names))):
            expected = "none without images" if images is None else f"the shape {(len(images), len(names))}"
            raise ValueError(f"image_values: expected {expected}, got {tuple(image_values.shape)}")
        if image_values is not None and not bool((image_values[:, places] > 0).all()):
            least = dict(zip(targets, image_values[:, places].amin(0).tolist(), strict=True))
            raise ValueError(f"image_values: expected positive ones, whose logarithm exists, got from {least} on")
        wanted = self._standard(torch.tensor(list(targets.values())), places)
        slack = torch.tensor([(bands or {}).get(name, 0.0) / value for name, value in targets.items()])
        slack = slack / self.model.spread[places]
        warnings = self._far_from_known(wanted, places, volume_fraction)
        if images is None:
            chosen = self._near(wanted, places, volume_fraction, 4 * count if starts is None else starts)
            cells, offsets = self._turned(chosen), self.offsets[chosen]
        else:
            cells, offsets = images.float(), torch.zeros(len(images), len(names))
            if image_values is not None:
                with torch.no_grad():
                    offsets = self.model.standardised(image_values.float()) - self.model.read(self.model.encode(cells))
        logits = self._inverted(
            cells, offsets[:, places], places, wanted, slack, volume_fraction, symmetry, steps, through
        )
        if volume_fraction is not None:
            logits = logits - _threshold(logits, volume_fraction)
        found = (logits > 0).float()
        with torch.no_grad():
            read = self.model.read(self.model.encode(found))[:, places] + offsets[:, places]
        predicted = torch.exp(read * self.model.spread[places] + self.model.centre[places])
        distance = (predicted / torch.tensor(list(targets.values())) - 1).abs()
        allowed = slack * self.model.spread[places]
        errors = (distance - allowed).clamp_min(0).amax(1)
        kept = _distinct(found, errors, count, separation, connected)
        if len(kept) < count:
            warnings = (*warnings, f"{len(kept)} distinct designs found, {count} wanted; more starts may find more")
        return Designs(found[kept], predicted[kept], dict(targets), errors[kept], logits[kept], warnings)

    def _standard(self, values: Tensor, places: Sequence[int]) -> Tensor:
        return (torch.log(values.float()) - self.model.centre[list(places)]) / self.model.spread[list(places)]

    def _turned(self, rows: Tensor) -> Tensor:
        """The known cells ``(B, n_1, ..)`` of the given rows, in their orders of the axes."""
        cells = [
            self.library.cells[row % len(self.library)].permute(self.turns[row // len(self.library)][0])
            for row in rows.tolist()
        ]
        return torch.stack(cells).float()

    def _coordinates(self, places: Sequence[int], with_fraction: bool) -> Tensor:
        """Properties of the known cells, and their volume fraction if asked, in standard deviations ``(N, T)``."""
        known = self.known[:, list(places)]
        if not with_fraction:
            return known
        return torch.cat([known, self._standard_fraction(self.fractions)[:, None]], 1)

    def _standard_fraction(self, fraction: Tensor) -> Tensor:
        """Volume fractions in standard deviations of the known cells', or in hundredths where those are all alike."""
        spread = self.fractions.std().nan_to_num().clamp_min(0.01)
        return (fraction - self.fractions.mean()) / spread

    def _distances(self, wanted: Tensor, places: Sequence[int], fraction: float | None) -> Tensor:
        """Distance of every known cell from the targets, in standard deviations."""
        if fraction is not None:
            wanted = torch.cat([wanted, self._standard_fraction(torch.tensor([fraction]))])
        return (self._coordinates(places, fraction is not None) - wanted).norm(dim=1)

    def _near(self, wanted: Tensor, places: Sequence[int], fraction: float | None, starts: int) -> Tensor:
        """Rows of the known cells to start from: the nearest."""
        return self._distances(wanted, places, fraction).argsort()[:starts]

    def _far_from_known(self, wanted: Tensor, places: Sequence[int], fraction: float | None) -> tuple[str, ...]:
        """A warning if the eighth nearest known cell is farther away than is usual among known cells."""
        count = min(8, len(self.known))
        nearest = float(self._distances(wanted, places, fraction).kthvalue(count).values)
        key = (*places, fraction is not None)
        if key not in self._usual:
            known = self._coordinates(places, fraction is not None)
            sample = known[:: max(1, len(known) // 200)]
            # One more, for a sampled cell is its own nearest.
            usual = torch.cdist(sample, known).kthvalue(min(count + 1, len(known))).values
            self._usual[key] = 2 * float(usual.quantile(0.99))
        limit = self._usual[key]
        if nearest <= limit:
            return ()
        return (
            f"the targets lie {nearest:.2f} standard deviations from the nearest known cells, where {limit:.2f} is "
            "usual at most: outside the training range, check the designs with the solver",
        )

    def _inverted(
        self,
        cells: Tensor,
        offsets: Tensor,
        places: Sequence[int],
        wanted: Tensor,
        slack: Tensor,
        fraction: float | None,
        symmetry: str,
        steps: int,
        through: str,
    ) -> Tensor:
        """Logits of the designs after the Gauss-Newton steps."""
        model = self.model
        with torch.no_grad():
            encoded = model.encode(cells)
            latent = torch.logit(encoded, eps=1e-3)
            known = model.read(encoded)[:, list(places)] + offsets
            first, restored = model.decode(torch.sigmoid(latent)), torch.zeros(())
            if through == "cell":
                # What the round trip gets wrong is put back, barely, so that the design starts from the cell itself.
                sign = torch.sign(cells - 0.5)
                restored = sign * (RESTORED - sign * first).clamp_min(0)
        for step in range(steps):
            latent = latent.detach().requires_grad_(True)
            logits = _symmetrised(model.decode(torch.sigmoid(latent)) + restored, symmetry)
            if fraction is not None:
                logits = logits - _threshold(logits.detach(), fraction)
            # Sharper at every step: the last reads nearly what the thresholded cell will read.
            squashed = torch.sigmoid(latent)
            if through == "cell":
                squashed = model.encode(torch.sigmoid((2 + step) * logits))
                with torch.no_grad():
                    start = model.encode(torch.sigmoid((2 + step) * (first + restored)))
                    offsets = known - model.read(start)[:, list(places)]
            read = model.read(squashed)[:, list(places)] + offsets
            residual = wanted - read
            residual = residual.sign() * (residual.abs() - slack).clamp_min(0)
            rows = [
                torch.autograd.grad(read[:, k].sum(), latent, retain_graph=k + 1 < len(places))[0].flatten(1)
                for k in range(len(places))
            ]
            jacobian = torch.stack(rows, 1)
            gram = jacobian @ jacobian.mT
            damping = 1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(len(places))
            update = (jacobian.mT @ torch.linalg.solve(gram + damping, residual.detach()[..., None]))[..., 0]
            largest = update.abs().amax(1, keepdim=True).clamp_min(1.0)
            latent = latent.detach() + (update / largest).reshape(latent.shape)
        with torch.no_grad():
            return _symmetrised(model.decode(torch.sigmoid(latent)) + restored, symmetry)


def _symmetrised(logits: Tensor, symmetry: str) -> Tensor:
    """Mean over the mirrors, and over the exchanges of axes if asked."""
    if symmetry == "none":
        return logits
    for axis in range(1, logits.ndim):
        logits = (logits + logits.flip(axis)) / 2
    if symmetry == "cubic":
        turned = [logits.permute(0, *order) for order in itertools.permutations(range(1, logits.ndim))]
        logits = torch.stack(turned).sort(0).values.mean(0)  # a sum in an order that the axes do not change
    return logits


def _threshold(logits: Tensor, fraction: float) -> Tensor:
    """Level above which the given share of each cell's voxels lies, ``(B, 1, ..)``."""
    voxels = logits[0].numel()
    keep = min(max(round(fraction * voxels), 1), voxels - 1)
    # A partition and not a sort: of 32^3 voxels a seventh of the time, a third of that of a whole design.
    ordered = torch.from_numpy(np.partition(logits.flatten(1).numpy(), (voxels - keep - 1, voxels - keep), axis=1))
    level = (ordered[:, voxels - keep - 1] + ordered[:, voxels - keep]) / 2
    return level.reshape(-1, *[1] * (logits.ndim - 1))


def shifted_distance(first: Tensor, second: Tensor) -> Tensor:
    """Least share of voxels in which two cells differ over all periodic shifts, for cells ``(..., n_1, ..)`` of d axes.

    Args:
        first: ``(S, n_1, ..)`` cells of 0 and 1.
        second: ``(n_1, ..)``, one cell.

    Example:
        >>> cell = (torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
        >>> round(float(shifted_distance(torch.roll(cell, (3, 2), (0, 1))[None], cell)[0]), 6)
        0.0
    """
    axes = tuple(range(-second.ndim, 0))
    overlap = torch.fft.rfftn(2 * first - 1, dim=axes) * torch.fft.rfftn(2 * second - 1, dim=axes).conj()
    agreement = torch.fft.irfftn(overlap, s=second.shape, dim=axes).flatten(1).amax(1) / second.numel()
    return ((1 - agreement) / 2).clamp_min(0)


def _distinct(cells: Tensor, errors: Tensor, count: int, separation: float, connected: bool) -> list[int]:
    """Best cells first, each far from those before it."""
    kept: list[int] = []
    for index in errors.argsort().tolist():
        if len(kept) == count:
            break
        if connected and not is_connected(cells[index], phase=1):
            continue
        if kept and float(shifted_distance(cells[kept], cells[index]).min()) <= separation:
            continue
        kept.append(index)
    return kept
