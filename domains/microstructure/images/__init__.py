"""Cells in and out of files: PNG, TIFF, npy, HDF5, VTK image data and STL."""

from domains.microstructure.images.phases import NotBinaryError, otsu, two_phases
from domains.microstructure.images.reading import mirrored, read_cell
from domains.microstructure.images.seams import NotPeriodicWarning, Seam, seams
from domains.microstructure.images.stl import read_stl, surface
from domains.microstructure.images.writing import write_cell

__all__ = [
    "read_cell",
    "write_cell",
    "NotBinaryError",
    "NotPeriodicWarning",
    "two_phases",
    "otsu",
    "seams",
    "Seam",
    "mirrored",
    "surface",
    "read_stl",
]
