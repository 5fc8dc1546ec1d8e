"""Cells from a user's own files: which phase is which is stated, and what does not fit a periodic cell is told."""

import os
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.images.arrays import read_hdf5, read_npy
from domains.microstructure.images.phases import Phase, two_phases
from domains.microstructure.images.pictures import read_picture
from domains.microstructure.images.seams import NotPeriodicWarning, seams
from domains.microstructure.images.vtk import read_vtk

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
HDF5 = (".h5", ".hdf5", ".hdf")
VTK = (".vtk", ".vti")


def read_cell(
    path: str | os.PathLike[str],
    *,
    threshold: Literal["otsu"] | float | None = None,
    phase: Phase = "bright",
    dataset: str | None = None,
    index: int | None = None,
    periodic: Literal["check", "mirror", "accept"] = "check",
) -> Tensor:
    """A cell from an image or an array.

    Args:
        path: PNG, TIFF (a stack has three axes), BMP, JPEG, npy, HDF5, or image data of VTK (.vtk, .vti). In pictures
            x runs right, y up and z through the pages; in arrays axis k is coordinate k.
        threshold: None for an image of two values. Otherwise values above it are bright: a number in the units of the
            file, or ``"otsu"``, the number that separates two classes best.
        phase: What is phase 1, the solid: ``"bright"``, ``"dark"``, or one value, the label of a segmented image; of
            a picture with a palette, the number in it.
        dataset: Name of the array in an HDF5 or VTK file that has several.
        index: Entry of the first axis of an HDF5 or npy array of many cells.
        periodic: ``"check"`` warns where opposite faces do not fit, ``"accept"`` does not look, ``"mirror"`` puts the
            cell and its mirror image side by side along every axis: 2^d times the voxels and always periodic, but a
            structure with mirror planes, which keeps volume fraction and isotropy and loses every shear coupling.

    Returns:
        The cell ``(n_1, .., n_d)``, d = 2 or 3, float64 of 0 and 1.

    Raises:
        FileNotFoundError: If there is no such file.
        NotBinaryError: If it has more than two values and neither threshold nor label is given.
        ValueError: If it is not of a format above, holds no array of two or three axes, values are not finite, or
            only one phase comes out.
        IndexError: If there is no such entry.

    Warns:
        NotPeriodicWarning: With ``"check"``, if opposite faces do not fit (see `seams`).

    Example:
        >>> import tempfile, pathlib, torch
        >>> from domains.microstructure.cells import generate
        >>> from domains.microstructure.images import read_cell, write_cell
        >>> cell = generate("spinodal", (32, 32), 0.4)
        >>> path = write_cell(cell, pathlib.Path(tempfile.mkdtemp()) / "cell.png")
        >>> torch.equal(read_cell(path), cell)
        True
    """
    file = Path(path)
    if periodic not in ("check", "mirror", "accept"):
        raise ValueError(f"read_cell: periodic is 'check', 'mirror' or 'accept', got {periodic!r}")
    kind = file.suffix.lower()
    if kind not in (*PICTURES, ".npy", *HDF5, *VTK):
        raise ValueError(f"read_cell: reads {', '.join((*PICTURES, '.npy', *HDF5, *VTK))}, got {file.name}")
    if dataset is not None and kind not in (*HDF5, *VTK):
        raise ValueError(f"read_cell: {kind} has no named arrays, got dataset={dataset!r}")
    if index is not None and kind not in (".npy", *HDF5):
        raise ValueError(f"read_cell: {kind} holds one image, got index={index}")
    if not file.is_file():
        raise FileNotFoundError(f"read_cell: there is no file {file}")
    if kind in PICTURES:
        values = read_picture(file, labels=not isinstance(phase, str))
    elif kind == ".npy":
        values = read_npy(file, index)
    elif kind in HDF5:
        values = read_hdf5(file, dataset, index)
    else:
        values = read_vtk(file, dataset)
    if values.ndim not in (2, 3) or min(values.shape) < 2:
        raise ValueError(
            f"{file}: a cell has two or three axes of at least two voxels, got {values.shape}"
            + ("; index picks one of many cells" if values.ndim > 3 else "")
        )
    try:
        cell = torch.from_numpy(np.ascontiguousarray(two_phases(values, threshold, phase)))
    except ValueError as error:
        raise type(error)(f"{file}: {error}") from error
    if periodic == "mirror":
        return mirrored(cell)
    if periodic == "check":
        misfit = [(axis, seam) for axis, seam in enumerate(seams(cell)) if not seam.fits]
        if misfit:
            told = "; ".join(
                f"axis {axis}: {seam.across:.0%} of the voxels differ between the last and the first layer, "
                f"{seam.mean:.0%} between neighbouring layers inside"
                for axis, seam in misfit
            )
            warnings.warn(
                f"{file}: is not periodic ({told}). periodic='mirror' makes it so, periodic='accept' takes it as it is",
                NotPeriodicWarning,
                stacklevel=2,
            )
    return cell


def mirrored(cell: Tensor) -> Tensor:
    """The cell and its mirror images side by side along every axis, ``(2 n_1, .., 2 n_d)``.

    Example:
        >>> import torch
        >>> mirrored(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))[0]
        tensor([0., 1., 1., 0.])
    """
    for axis in range(cell.ndim):
        cell = torch.cat([cell, cell.flip(axis)], dim=axis)
    return cell
