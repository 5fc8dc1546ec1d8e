"""Local stress of a two-phase cell, decoded from its latent: a learned field that obeys what is cheap to obey.

For a unit mean strain E_l in each Voigt component l (xx, yy, xy, engineering shear) the network gives a field f_l,
three numbers a voxel, and the rest is mechanics:

    displacement  u_l = argmin |f_l - strain(u)|        periodic, at the voxels' corners; the norm is the energy in the
                                                        mean of the two phases, the minimum one division by FFT
    equilibrium   u_l <- u_l - a G (K (E_l x + u_l)) + b (last step)      K and G as in :mod:`homogenisation`, a few
                                                        times, a and b learned; none of them if ``equilibrium`` is 0
    stress        s_l = ((1 - x) C_0 + x C_1) (E_l + strain(u_l))         x the cell, C_p the stiffness of phase p

So every field is compatible, its mean strain is E_l exactly, its jumps sit at the interfaces of the cell, and it tends
to that of the solver as the steps grow in number.  What is left to learn is where the load goes.  The field under any
other load is the sum of these, weighted with its Voigt components: linear in the load by construction.

    network   cell (n) -> n/2 -> n/4 -> n/8, joined by the latent there -> n/4 -> n/2 -> n, all convolutions periodic

All of it commutes with shifts by 8 voxels, the block of the latent.  Loss: mean over cells and loads of the squared
error of the stress over the mean square of that stress; cells and fields are shifted, mirrored and turned together.

Source: the sketch-to-stress case of Batley and Saha (2025, arXiv:2512.15746), where a network gives the components of
the stress (``predicts="stress"``) from the latent alone (``from_cell=False``); both are kept as options.  A network
that gives the displacement itself was tried and learned more slowly: differences amplify its error.
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

from domains.microstructure.elasticity import Material
from domains.microstructure.janus import BLOCK
from domains.microstructure.voxel_elements import (
    affine_corners,
    element_matrix,
    stencil_symbol,
    to_elements,
    to_nodes,
)
from separable.atomic_files import write_text
from separable.files import checked_text, filled, read_json, read_tensors, refusing, write_tensors

# Displacement gradients of a unit strain xx, yy and a unit engineering shear xy.
_GRADIENTS = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.5], [0.5, 0.0]]])
PREDICTS = ("strain", "stress")


@dataclasses.dataclass(frozen=True)
class StressConfig:
    """A stress decoder and the phases that it was trained for.

    Attributes:
        latent: C, coordinates for each block of 8 voxels a side.
        young: Young's moduli of phase 0 and phase 1; their unit is that of the stress.
        poisson: Poisson's ratios of the phases, plane strain.
        width: channels at half the resolution; there are twice and three times as many below.
        depth: convolutions on the blocks.
        predicts: what the network gives: ``"strain"``, made compatible and relaxed, or ``"stress"``, taken as it is.
        equilibrium: steps towards equilibrium after the network, not taken with ``predicts="stress"``.
        from_cell: whether the network sees the voxels of the cell besides the latent.
    """

    latent: int = 12
    young: tuple[float, float] = (0.1, 1.0)
    poisson: tuple[float, float] = (0.3, 0.3)
    width: int = 16
    depth: int = 3
    predicts: str = "strain"
    equilibrium: int = 2
    from_cell: bool = True

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.depth) < 1 or self.equilibrium < 0:
            raise ValueError(f"latent, width, depth, equilibrium: expected positive numbers, got {self}")
        if self.predicts not in PREDICTS:
            raise ValueError(f"predicts: expected one of {', '.join(PREDICTS)}, got {self.predicts!r}")
        self.materials()

    def materials(self) -> tuple[Material, Material]:
        """The elastic phases."""
        return Material(self.young[0], self.poisson[0]), Material(self.young[1], self.poisson[1])


class StressDecoder(nn.Module):
    """Latent and cell to the local stress under unit strains.

    Args:
        config: sizes and phases.

    Example:
        >>> decoder = StressDecoder(StressConfig(latent=4, width=4))
        >>> decoder(torch.rand(2, 4, 3, 2), torch.ones(2, 24, 16)).shape
        torch.Size([2, 3, 3, 24, 16])
    """

    stiffness: Tensor
    elements: Tensor
    affine: Tensor

    def __init__(self, config: StressConfig) -> None:
        super().__init__()
        self.config = config
        both = [torch.from_numpy(material.stiffness(2)).float() for material in config.materials()]
        self.register_buffer("stiffness", torch.stack(both), persistent=False)
        elements = [element_matrix(material.modulus(2)).float() for material in config.materials()]
        self.register_buffer("elements", torch.cat(elements, 1), persistent=False)
        self.register_buffer("affine", affine_corners(_GRADIENTS).float(), persistent=False)
        w = config.width
        self.halved = _periodic(4, w)
        self.quartered = nn.Sequential(nn.Conv2d(w, 2 * w, 2, 2), nn.GELU(), _periodic(2 * w, 2 * w))
        self.eighthed = nn.Conv2d(2 * w, 3 * w, 2, 2)
        self.join = nn.Conv2d(3 * w + config.latent, 4 * w, 1)
        self.blocks = nn.ModuleList(_periodic(4 * w, 4 * w) for _ in range(config.depth))
        self.to_quarter = nn.Conv2d(4 * w, 8 * w, 1)
        self.at_quarter = nn.Sequential(_periodic(2 * w, 2 * w), nn.GELU(), _periodic(2 * w, 2 * w))
        self.to_half = nn.Conv2d(2 * w, 4 * w, 1)
        self.at_half = nn.Sequential(_periodic(w, w), nn.GELU(), _periodic(w, w))
        self.last = _periodic(w, 4 * 9)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.lengths = nn.Parameter(torch.full((config.equilibrium,), 1.0))
        self.momenta = nn.Parameter(torch.zeros(config.equilibrium))
        self._symbols: dict[Any, tuple[Tensor, Tensor]] = {}

    def forward(self, latent: Tensor, cells: Tensor) -> Tensor:
        """Stress ``(B, 3, 3, n_1, n_2)``: load, Voigt component, voxel; in the unit of the moduli.

        Args:
            latent: ``(B, C, n_1/8, n_2/8)``, squashed, as `Janus.encode` gives it.
            cells: ``(B, n_1, n_2)`` in [0, 1]: which phase each voxel is.

        Raises:
            ValueError: shapes that do not belong together.
        """
        blocks = (len(cells), self.config.latent, *(n // BLOCK for n in cells.shape[1:]))
        if cells.ndim != 3 or any(n % BLOCK for n in cells.shape[1:]) or tuple(latent.shape) != blocks:
            raise ValueError(
                f"latent, cells: expected (B, {self.config.latent}, n_1/{BLOCK}, n_2/{BLOCK}) and (B, n_1, n_2), "
                f"got {tuple(latent.shape)} and {tuple(cells.shape)}"
            )
        found = self._network(latent, cells[:, None]).unflatten(1, (3, 3))
        loads = torch.eye(3, dtype=found.dtype, device=found.device)[:, :, None, None]
        shares = torch.stack([1 - cells, cells], 1)
        local = torch.einsum("bpxy,pvw->bvwxy", shares, self.stiffness)
        if self.config.predicts == "stress":
            return local.transpose(1, 2) + found
        displacement = self._relaxed(self._displacement(found), cells)
        return torch.einsum("bvwxy,blwxy->blvxy", local, loads + strain_of(displacement))

    def _displacement(self, strain: Tensor) -> Tensor:
        """Displacement ``(B, 3, 2, n_1, n_2)`` whose strain is nearest to the given one in the mean material."""
        stress = torch.einsum("vw,blwxy->blvxy", self.stiffness.mean(0), strain)
        spectrum = torch.einsum("xyiv,blvxy->blixy", self._operators(strain)[0], torch.fft.rfft2(stress))
        return torch.fft.irfft2(spectrum, s=strain.shape[-2:])

    def _relaxed(self, displacement: Tensor, cells: Tensor) -> Tensor:
        """The displacement after the steps towards equilibrium, in the finite elements of the solver."""
        shares = torch.stack([1 - cells, cells], 1).flatten(2)[:, None, :, None]  # (B, 1, phase, 1, N)
        step = torch.zeros_like(displacement)
        green = self._operators(displacement)[1]
        for length, momentum in zip(self.lengths, self.momenta, strict=True):
            corners = to_elements(displacement, 2) + self.affine[:, :, None]
            forces = to_nodes(self.elements @ (shares * corners[:, :, None]).flatten(2, 3), displacement.shape[-2:])
            spectrum = torch.einsum("xyij,bljxy->blixy", green, torch.fft.rfft2(forces))
            step = momentum * step - length * torch.fft.irfft2(spectrum, s=displacement.shape[-2:])
            displacement = displacement + step
        return displacement

    def _operators(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Fourier symbols from stress to displacement and from nodal force to displacement, kept for each grid."""
        key = (tuple(like.shape[-2:]), like.device, like.dtype)
        if key not in self._symbols:
            kind = torch.complex128 if like.dtype == torch.float64 else torch.complex64
            element = torch.stack(self.elements.cpu().double().chunk(2, 1)).mean(0)
            pair = displacement_symbol(self.stiffness.mean(0), key[0]), force_symbol(element, key[0])
            self._symbols[key] = pair[0].to(like.device, kind), pair[1].to(like.device, kind)
        return self._symbols[key]

    def save(self, folder: str | Path) -> None:
        """Write ``stress.safetensors`` and ``stress.json`` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / "stress.safetensors", self.state_dict())
        write_text(folder / "stress.json", checked_text(dataclasses.asdict(self.config)))

    @classmethod
    def load(cls, folder: str | Path) -> StressDecoder:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no stress decoder.
            ValueError: it is damaged, or one of an earlier version, with other layers.
        """
        folder = Path(folder)
        if not (folder / "stress.json").exists():
            raise FileNotFoundError(f"{folder}: no stress.json; `separable microstructure sketch --data` makes one")
        settings = read_json(folder / "stress.json", "sizes of a stress decoder")
        with refusing(folder, "a stress decoder"):
            frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
            config = StressConfig(**frozen)
        tensors = read_tensors(folder / "stress.safetensors", "a stress decoder")
        return filled(folder, settings, lambda: cls(config), tensors).eval()

    def _network(self, latent: Tensor, cells: Tensor) -> Tensor:
        squash = nn.functional.gelu
        shown = cells - 0.5 if self.config.from_cell else torch.zeros_like(cells)
        half = squash(self.halved(nn.functional.pixel_unshuffle(shown, 2)))
        quarter = squash(self.quartered(half))
        hidden = squash(self.join(torch.cat([squash(self.eighthed(quarter)), latent - 0.5], 1)))
        for block in self.blocks:
            hidden = hidden + squash(block(hidden))
        hidden = squash(nn.functional.pixel_shuffle(self.to_quarter(hidden), 2)) + quarter
        hidden = squash(self.at_quarter(hidden))
        hidden = squash(nn.functional.pixel_shuffle(self.to_half(hidden), 2)) + half
        hidden = squash(self.at_half(hidden))
        return nn.functional.pixel_shuffle(self.last(hidden), 2)


def _periodic(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")


def strain_of(displacement: Tensor) -> Tensor:
    """Voigt strain ``(.., 3, n_1, n_2)``, mean over each voxel, of periodic corner displacements ``(.., 2, n_1, n_2)``.

    Example:
        >>> strain_of(torch.rand(2, 8, 8)).mean((1, 2)).abs().max() < 1e-6
        tensor(True)
    """
    along, across = displacement + displacement.roll(-1, -1), displacement + displacement.roll(-1, -2)
    by_x, by_y = (along.roll(-1, -2) - along) / 2, (across.roll(-1, -1) - across) / 2
    shear = by_y[..., 0, :, :] + by_x[..., 1, :, :]
    return torch.stack([by_x[..., 0, :, :], by_y[..., 1, :, :], shear], -3)


def displacement_symbol(stiffness: Tensor, shape: Sequence[int]) -> Tensor:
    """Fourier symbol ``(n_1, n_2 // 2 + 1, 2, 3)`` from a stress to the displacement that it causes in a uniform cell.

    With D the symbol of `strain_of` and C the stiffness ``(3, 3)`` it is ``(D^H C D)^-1 D^H``, zero at frequency zero;
    after C it finds, for any field of strain, the displacement whose strain is nearest in the energy of C.

    Example:
        >>> from domains.microstructure.elasticity import Material
        >>> displacement_symbol(torch.from_numpy(Material(1.0, 0.3).stiffness(2)), (8, 8)).shape
        torch.Size([8, 5, 2, 3])
    """
    frequencies = torch.fft.fftfreq(shape[0], dtype=torch.float64), torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    x, y = (torch.exp(2j * torch.pi * wave) for wave in torch.meshgrid(*frequencies, indexing="ij"))
    by_x, by_y, zero = (x - 1) * (1 + y) / 2, (1 + x) * (y - 1) / 2, torch.zeros_like(x)
    strain = torch.stack([torch.stack(row, -1) for row in ((by_x, zero), (zero, by_y), (by_y, by_x))], -2)
    energy = strain.mH @ stiffness.detach().cpu().to(strain.dtype) @ strain
    # At the highest frequencies some displacements have no strain at the centre: a pseudo-inverse leaves them out.
    return torch.linalg.pinv(energy, rtol=1e-9, hermitian=True) @ strain.mH


def force_symbol(element: Tensor, shape: Sequence[int]) -> Tensor:
    """Fourier symbol ``(n_1, n_2 // 2 + 1, 2, 2)`` from nodal forces to displacements, all voxels being ``element``."""
    symbol = stencil_symbol(element, tuple(shape), 2).movedim((0, 1), (-2, -1)).contiguous()
    symbol[0, 0] = torch.eye(2, dtype=symbol.dtype)
    green = torch.linalg.inv(symbol)
    green[0, 0] = 0
    return green


def under(stress: Tensor, strain: Sequence[float]) -> Tensor:
    """Stress ``(B, 3, n_1, n_2)`` under a mean strain, by superposition of the fields ``(B, 3, 3, n_1, n_2)``.

    Args:
        stress: load, Voigt component, voxel.
        strain: mean strain xx, yy, xy; the last is the engineering shear.

    Raises:
        ValueError: not three finite numbers, or all zero.

    Example:
        >>> under(torch.ones(1, 3, 3, 2, 2), (0.01, 0.0, 0.02))[0, 0, 0, 0]
        tensor(0.0300)
    """
    if len(strain) != 3 or not all(math.isfinite(s) for s in strain) or not any(strain):
        raise ValueError(f"strain: expected xx, yy, xy, finite and not all zero, got {tuple(strain)}")
    return torch.einsum("l,blvxy->bvxy", torch.tensor(strain, dtype=stress.dtype, device=stress.device), stress)


def von_mises(stress: Tensor, cells: Tensor, materials: tuple[Material, Material]) -> Tensor:
    """Von Mises stress ``(B, n_1, n_2)``; the stress along z is poisson (xx + yy) in plane strain, 0 in plane stress.

    Args:
        stress: ``(B, 3, n_1, n_2)``: xx, yy, xy.
        cells: ``(B, n_1, n_2)``.
        materials: of phase 0 and phase 1.

    Example:
        >>> pair = (Material(1.0, 0.25), Material(1.0, 0.25))
        >>> von_mises(torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1), torch.ones(1, 1, 1), pair)
        tensor([[[1.7321]]])
    """
    xx, yy, xy = stress.unbind(1)
    first, second = (material.poisson if material.plane == "strain" else 0.0 for material in materials)
    zz = ((1 - cells) * first + cells * second) * (xx + yy)
    return (((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * xy**2).sqrt()


def relative_error(found: Tensor, truth: Tensor) -> Tensor:
    """Norm of the error over the norm of the truth, for each cell and what comes before the component.

    Args:
        found: ``(.., 3, n_1, n_2)``: components and voxels come last.
        truth: of the same shape.

    Example:
        >>> relative_error(torch.full((2, 3, 4, 4), 1.1), torch.ones(2, 3, 4, 4))
        tensor([0.1000, 0.1000])
    """
    return (found - truth).flatten(-3).norm(dim=-1) / truth.flatten(-3).norm(dim=-1)
