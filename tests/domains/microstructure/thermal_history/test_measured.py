"""Files come back as they were written, and bad ones are told by name."""

import csv

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


@pytest.fixture
def files(tmp_path):
    h5py = pytest.importorskip("h5py")
    counts = np.random.default_rng(0).integers(0, 800, (6, 36))
    with h5py.File(tmp_path / "histograms.h5", "w") as file:
        file["temp_values"] = th.EDGES
        file["features"] = counts
    with (tmp_path / "strengths.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "point_name", "UTS"])
        writer.writerows([[3 + n // 3, "ABC"[n % 3], 700.5 + n] for n in range(6)])
    return tmp_path / "histograms.h5", tmp_path / "strengths.csv", counts


def test_files_come_back_as_they_were_written(files) -> None:
    data = th.read(*files[:2])
    assert np.array_equal(data.histogram, files[2])
    assert np.array_equal(data.edges, th.EDGES)
    assert data.strength.tolist() == [700.5 + n for n in range(6)]
    assert data.wall.tolist() == ["3"] * 3 + ["4"] * 3
    assert data.process is None
    with pytest.raises(ValueError):
        th.Planner(data, th.Windows.of(data.histogram, data.edges))


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.pop("temp_values"),
        lambda file: file.pop("features"),
        lambda file: file.create_dataset("more", data=np.zeros((6, 36))),
        lambda file: file["features"].__setitem__((2, 3), -1),
        lambda file: file["features"].__setitem__(1, np.zeros(36)),
        lambda file: file["temp_values"].__setitem__(4, 9000.0),
    ],
    ids=["no edges", "no histograms", "two tables", "negative", "empty row", "edges fall"],
)
def test_bad_histogram_files_are_told(files, change) -> None:
    import h5py

    with h5py.File(files[0], "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=r"histograms\.h5"):
        th.read(*files[:2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sample,strength\n3,700\n",
        "point,UTS\nA,700\n",
        "sample,UTS\n3,seven\n",
        "sample,UTS\n3,-1\n",
        "sample,UTS\n3,700\n",
        "sample,UTS\n3\n",
        b"PK\x03\x04\xff\xfe\x00",
    ],
    ids=["empty", "no column", "no wall", "a word", "negative", "too few rows", "a short row", "a spreadsheet"],
)
def test_bad_tables_are_told(files, text) -> None:
    files[1].write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"strengths\.csv"):
        th.read(*files[:2])


def test_missing_and_foreign_files_are_told(files, tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        th.read(tmp_path / "none.h5", files[1])
    with pytest.raises(FileNotFoundError):
        th.read(files[0], tmp_path / "none.csv")
    with pytest.raises(ValueError):
        th.read(files[1], files[1])
