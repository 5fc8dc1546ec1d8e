"""Cells to files; a file is complete or absent, and an older one stays unless told otherwise."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domains.microstructure.images.arrays import write_hdf5
from domains.microstructure.images.pictures import write_picture
from domains.microstructure.images.stl import write_stl
from domains.microstructure.images.vtk import write_vtk
from separable.atomic_files import replacing

FORMATS = (".png", ".tif", ".tiff", ".npy", ".h5", ".hdf5", ".vtk", ".vti", ".stl")


def write_cell(
    cell: Tensor,
    path: str | os.PathLike[str],
    *,
    voxel_size: float = 1.0,
    phase: int = 1,
    thickness: float = 1.0,
    overwrite: bool = False,
) -> Path:
    """Write a cell in the format of the file's suffix.

    Args:
        cell: ``(n_1, .., n_d)``, d = 2 or 3, of 0 and 1.
        path: ``.png`` (two axes), ``.tif``, ``.npy``, ``.h5``, ``.vtk``, ``.vti``: all voxels, read back by
            `read_cell` as they were; ``.stl``: the closed surface of one phase within the cell.
        voxel_size: Edge of a voxel, kept by HDF5, VTK and STL.
        phase: The phase whose surface an STL is.
        thickness: Height to which an STL extrudes a cell of two axes, voxels.
        overwrite: Whether an older file may be replaced, which happens only when the new one is complete.

    Returns:
        The path.

    Raises:
        FileExistsError: If there is such a file and ``overwrite`` is not set.
        FileNotFoundError: If the folder does not exist.
        ValueError: If the cell is not one, the suffix is not known, or a cell of three axes is to become a PNG.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from domains.microstructure.images import write_cell
        >>> write_cell(torch.eye(8), pathlib.Path(tempfile.mkdtemp()) / "diagonal.stl").name
        'diagonal.stl'
    """
    target = Path(path)
    values = cell.detach().cpu().numpy()
    if values.ndim not in (2, 3) or values.size == 0 or not ((values == 0) | (values == 1)).all():
        raise ValueError(f"write_cell: a cell has two or three axes and the values 0 and 1, got {tuple(cell.shape)}")
    if phase not in (0, 1):
        raise ValueError(f"write_cell: phase is 0 or 1, got {phase!r}")
    for name, number in (("voxel_size", voxel_size), ("thickness", thickness)):
        if not (np.isfinite(number) and number > 0):
            raise ValueError(f"write_cell: {name} is finite and positive, got {number}")
    kind = target.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"write_cell: writes {', '.join(FORMATS)}, got {target.name}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"write_cell: there is no folder {target.parent}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"write_cell: {target} exists; overwrite=True replaces it")
    write: Callable[[Path], None]
    if kind in (".png", ".tif", ".tiff"):
        write = partial(write_picture, values, form="PNG" if kind == ".png" else "TIFF")
    elif kind == ".npy":
        write = partial(_write_npy, values.astype(np.uint8))
    elif kind in (".h5", ".hdf5"):
        write = partial(write_hdf5, values, voxel_size=voxel_size)
    elif kind in (".vtk", ".vti"):
        write = partial(write_vtk, values, voxel_size=voxel_size, form=kind)
    else:
        write = partial(write_stl, values == phase, voxel_size=voxel_size, thickness=thickness)
    with replacing(target) as temporary:
        write(temporary)
    return target


def check_formats(formats: Sequence[str], dimensions: int) -> None:
    """Refuse formats, without their dot, that cells of so many axes cannot be written in.

    Raises:
        ValueError: one is not known, or is of flat cells.
    """
    possible = [name[1:] for name in FORMATS if dimensions == 2 or name != ".png"]
    for name in formats:
        if name.lower() not in possible:
            raise ValueError(f"formats: expected some of {', '.join(possible)}, got {name!r}")


def _write_npy(values: NDArray[np.uint8], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values)
