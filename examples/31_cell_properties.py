"""Properties of a two-phase cell: conduction, stiffness, flow, the bounds on them, and where the stress goes.

Usage: python 31_cell_properties.py [image]

The image may be a PNG, TIFF, npy, HDF5 or VTK file of two values; bright is phase 1. Without one, a cell is made.
Cells are periodic, axis k is coordinate k, phase 1 is the solid.
"""

import sys

import torch

from domains.microstructure.bounds import hashin_shtrikman_conductivity, wiener
from domains.microstructure.cells import generate
from domains.microstructure.conductivity import conduction
from domains.microstructure.connectivity import is_connected, percolates
from domains.microstructure.elasticity import Material, elastic_response
from domains.microstructure.images import read_cell
from domains.microstructure.permeability import permeability
from domains.microstructure.properties import read_properties

CONDUCTIVITIES = (0.1, 1.0)  # of phase 0 and phase 1
MATERIALS = (Material(young=0.1, poisson=0.3), Material(young=1.0, poisson=0.3))  # plane strain
VOXEL = 2e-6  # m


def main(*images: str) -> None:
    """Solve, compare with the bounds, draw."""
    cell = read_cell(images[0]) if images else generate("spinodal", (64, 64), 0.55, seed=3, wavelength=20.0)
    share = float(cell.mean())
    paths = ", ".join(f"{name}: {percolates(cell, axis)}" for axis, name in enumerate("xyz"[: cell.ndim]))
    print(f"volume fraction {share:.3f}; phase 1 in one piece: {is_connected(cell)}; runs through along {paths}")

    # Every solver takes a batch of cells, here of one.
    conductivity, fields = conduction(cell[None], CONDUCTIVITIES)
    print("conductivity, in the unit of the phases':\n", conductivity[0].numpy().round(4))
    print(" ", wiener((1 - share, share), CONDUCTIVITIES))
    print(" ", hashin_shtrikman_conductivity((1 - share, share), CONDUCTIVITIES, cell.ndim), "if isotropic")

    stiffness, local = elastic_response(cell[None], MATERIALS)
    print("stiffness, Voigt, in the unit of the phases' moduli:\n", stiffness[0].numpy().round(4))
    for name in ("youngs_x", "youngs_y", "shear_xy"):
        print(f"  {name} {float(read_properties({'stiffness': stiffness}, [name])):.4f}")

    flow = permeability(cell, voxel=VOXEL, return_fields=True)
    print("permeability of phase 0, m2:\n", flow.permeability.numpy())

    # Gradients reach the voxels: which of them would raise the conductivity along x most?
    grey = cell.clone().requires_grad_(True)
    conduction(grey[None], CONDUCTIVITIES, fields=False)[0][0, 0, 0].backward()
    place = tuple(int(i) for i in torch.unravel_index((grey.grad * (1 - cell)).argmax(), cell.shape))
    print(f"one voxel more of phase 1 does most for the conductivity along x at {place}")

    if cell.ndim == 2:
        # The mean strain that leaves a unit stress along x and none besides; local fields are linear in it.
        strain = torch.linalg.inv(stiffness[0])[:, 0]
        stress = torch.einsum("l,lvxy->vxy", strain, local.stress[0])
        speed = ((flow.velocity + flow.velocity.roll(-1, -2)) / 2)[0, 0]
        draw(cell, fields.flux[0, 0, 0], stress[0], speed / VOXEL**2)
        print(f"stress along x: mean {float(stress[0].mean()):.4f}, greatest {float(stress[0].max()):.2f}")
        print("picture: cell_properties.png")


def draw(cell: torch.Tensor, flux: torch.Tensor, stress: torch.Tensor, velocity: torch.Tensor) -> None:
    """Write cell_properties.png: the cell and the three fields along x."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    parts = (cell, flux, stress, velocity)
    titles = (
        "the cell, phase 1 dark",
        "flux along x, unit mean gradient",
        "stress along x, unit mean stress",
        "velocity along x of phase 0, voxels$^2$",
    )
    for axis, part, title, colours in zip(axes, parts, titles, ("Greys", "viridis", "magma", "Blues"), strict=True):
        image = axis.imshow(part.T.numpy(), origin="lower", cmap=colours)
        axis.set(title=title, xlabel="x, voxels", ylabel="y, voxels")
        if part is not cell:
            figure.colorbar(image, ax=axis)
    figure.savefig("cell_properties.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:2])
