"""What released versions wrote is read by this one, and gives what it gave."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.readers import READERS
from tools.released_files import CONTENT, KINDS, told

HERE = Path(__file__).parent
READ = {reader.name: reader for reader in READERS}
RELEASED = [
    pytest.param(archive, kind, id=f"{archive.stem.removeprefix('files_of_')}, {kind}")
    for archive in sorted(HERE.glob("files_of_*.zip"))
    for kind in dict.fromkeys(name.partition("/")[0] for name in zipfile.ZipFile(archive).namelist())
]


def test_there_are_files_of_each_kind():
    assert {parameter.values[1] for parameter in RELEASED} >= set(KINDS)


@pytest.mark.parametrize(("archive", "kind"), RELEASED)
def test_a_file_of_a_released_version_is_read(archive, kind, tmp_path):
    with zipfile.ZipFile(archive) as released:
        released.extractall(tmp_path, [name for name in released.namelist() if name.startswith(f"{kind}/")])
    folder = tmp_path / kind
    with np.load(folder / CONTENT) as content:
        wanted = list(content.values())
    (folder / CONTENT).unlink()
    found = told(READ[kind].read(folder))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype.kind) == (other.shape, other.dtype.kind)
        if one.dtype.kind in "fc":  # outputs of models, which another processor rounds in another way
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)
