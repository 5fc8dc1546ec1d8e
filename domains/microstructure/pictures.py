"""Figures of cells, and of their stress: x to the right, y up, phase 1 dark."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def picture(cells: Tensor, titles: list[str] | None = None) -> Any:
    """A figure of cells side by side, phase 1 dark, x to the right and y up; of 3-D cells the first layer in z.

    Example:
        >>> import torch
        >>> from domains.microstructure.cells import generate as generate_cell
        >>> figure = picture(torch.stack([generate_cell("spinodal", (16, 16), 0.5, seed=s) for s in range(3)]))
        >>> len(figure.axes)
        3
    """
    import matplotlib.pyplot as plt

    columns = min(len(cells), 4)
    figure, axes = plt.subplots(
        -(-len(cells) // columns), columns, figsize=(2.2 * columns, 2.4 * -(-len(cells) // columns)), squeeze=False
    )
    for index, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        if index < len(cells):
            plane = cells[index] if cells[index].ndim == 2 else cells[index][..., 0]
            axis.imshow(plane.T.numpy(), origin="lower", cmap="Greys", vmin=0, vmax=1)
            if titles:
                axis.set_title(titles[index], fontsize=8)
    for axis in list(figure.axes):
        if not axis.images:
            axis.remove()
    return figure


def stress_picture(drawn: Tensor, cell: Tensor, learned: Tensor, solved: Tensor, unit: str = "") -> Any:
    """A figure of a drawing, its clean cell, and a local stress as learned and as solved, on one scale.

    Args:
        drawn: ``(n_1, n_2)`` in [0, 1], 1 for phase 1.
        cell: ``(n_1, n_2)`` of 0 and 1.
        learned: von Mises stress ``(n_1, n_2)``.
        solved: the same by the solver.
        unit: of the stress.

    Example:
        >>> import torch
        >>> len(stress_picture(*torch.rand(4, 16, 16), unit="MPa").axes)
        5
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    for axis, plane, title in zip(axes, (drawn, cell), ("drawing, as read", "clean cell"), strict=False):
        axis.imshow(plane.T.numpy(), origin="lower", cmap="Greys", vmin=0, vmax=1)
        axis.set_title(title)
    top = float(solved.quantile(0.995))
    for axis, plane, title in zip(axes[2:], (learned, solved), ("stress, decoded", "stress, solver"), strict=True):
        image = axis.imshow(plane.T.numpy(), origin="lower", cmap="inferno", vmin=0, vmax=top)
        axis.set_title(title)
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlabel="x", ylabel="y")
    label = f"von Mises stress, {unit}" if unit else "von Mises stress, in the unit of the moduli"
    figure.colorbar(image, ax=list(axes), label=label, extend="max")
    return figure
