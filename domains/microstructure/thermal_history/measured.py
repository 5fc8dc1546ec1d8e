"""The measured data set of Xie et al. (2021), read from files of the user's own."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.microstructure.thermal_history.histories import Array, ThermalHistories


def read(histograms: str | Path, strengths: str | Path, column: str = "UTS") -> ThermalHistories:
    """Read the measured data set, in the layout in which its authors published it.

    Args:
        histograms: An HDF5 file (``discrete_binning_feature.h5``) with ``temp_values``, the B + 1 ends of the ranges,
            and one data set ``(N, B)`` of any name: a row for each point.
        strengths: A CSV file (``mechanical_property.csv``) with a header, N rows in the same order, the wall in the
            column ``sample`` and the strength (MPa) in ``column``.
        column: Which property; one in Pa, such as ``Yield stress``, is left in Pa.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file is not of its kind, a part is missing or ambiguous, shapes do not agree, edges do not
            increase, or a value is negative, missing or not a number; the place is named.
        ImportError: Without h5py.

    Source: Xie, Saha, Bennett et al., npj Computational Materials 7:86 (2021); data at github
    xiaoyuxie-vico/DL_AM_Data. That the two files have the same order is taken on trust: neither names the other's rows.
    """
    counts, edges = _read_histograms(Path(histograms))
    walls, values = _read_strengths(Path(strengths), column)
    if len(values) != len(counts):
        raise ValueError(f"{strengths}: {len(values)} rows, but {histograms} has histograms of {len(counts)} points")
    return ThermalHistories(counts, edges, values, walls)


def _read_histograms(path: Path) -> tuple[Array, Array]:
    try:
        import h5py

        from separable.hdf5 import open_hdf5
    except ModuleNotFoundError as error:
        raise ImportError(
            "thermal_history.read needs h5py; install it with: pip install 'separable[fields]'"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the HDF5 file of histograms")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not an HDF5 file")
    with open_hdf5(path, "histograms in HDF5") as file:
        found = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        if "temp_values" not in found:
            raise ValueError(f"{path}: no data set 'temp_values' (the ends of the ranges); it holds {sorted(file)}")
        edges = np.asarray(found.pop("temp_values")[()], dtype=np.float64).ravel()
        tables = {name: item for name, item in found.items() if item.shape[1:] == (len(edges) - 1,)}
        if len(tables) != 1:
            shapes = {name: item.shape for name, item in found.items()}
            raise ValueError(
                f"{path}: expected one data set of shape (N, {len(edges) - 1}), one column less than temp_values has "
                f"entries; got {shapes or 'no other data set'}"
            )
        counts = np.asarray(next(iter(tables.values()))[()], dtype=np.float64)
    if not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise ValueError(f"{path}: temp_values does not increase: {edges.tolist()}")
    wrong = np.argwhere(~(np.isfinite(counts) & (counts >= 0)))
    if len(wrong):
        row, bin_ = wrong[0].tolist()
        raise ValueError(f"{path}: a time is finite and not negative; row {row}, range {bin_} is {counts[row, bin_]}")
    empty = np.flatnonzero(counts.sum(1) == 0)
    if len(empty):
        raise ValueError(f"{path}: the histogram of row {empty[0]} is empty")
    return counts, edges


def _read_strengths(path: Path, column: str) -> tuple[NDArray[np.str_], Array]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the CSV table of strengths")
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: not a CSV table in UTF-8 ({error}); save a spreadsheet as CSV first") from error
    if not rows:
        raise ValueError(f"{path}: no rows below the header")
    for name in ("sample", column):
        if name not in rows[0]:
            raise ValueError(f"{path}: no column {name!r}; the header has {list(rows[0])}")
    values = []
    for line, row in enumerate(rows, start=2):
        try:
            value = float(row[column])
        except (TypeError, ValueError):
            value = np.nan
        if not (np.isfinite(value) and value > 0) or not row["sample"]:
            raise ValueError(
                f"{path}, line {line}: a wall and a positive number in {column!r} are expected, "
                f"got {row['sample']!r} and {row[column]!r}"
            )
        values.append(value)
    return np.array([row["sample"] for row in rows]), np.array(values)
