"""What released versions wrote is read by this one, and gives what it gave."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.readers import READERS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
READ = {reader.name: reader for reader in READERS}
RELEASED = [
    pytest.param(archive, kind, id=f"{archive.stem.removeprefix('files_of_')}, {kind}")
    for archive in sorted(HERE.glob("files_of_*.zip"))
    for kind in dict.fromkeys(name.partition("/")[0] for name in zipfile.ZipFile(archive).namelist())
]


@pytest.fixture(scope="module")
def tool():
    described = importlib.util.spec_from_file_location("released_files", ROOT / "tools" / "released_files.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def test_there_are_files_of_each_kind(tool):
    assert {parameter.values[1] for parameter in RELEASED} >= set(tool.KINDS)


@pytest.mark.parametrize(("archive", "kind"), RELEASED)
def test_a_file_of_a_released_version_is_read(archive, kind, tool, tmp_path):
    with zipfile.ZipFile(archive) as released:
        released.extractall(tmp_path, [name for name in released.namelist() if name.startswith(f"{kind}/")])
    folder = tmp_path / kind
    with np.load(folder / tool.CONTENT) as content:
        wanted = list(content.values())
    (folder / tool.CONTENT).unlink()
    found = tool.told(READ[kind].read(folder))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype.kind) == (other.shape, other.dtype.kind)
        if one.dtype.kind in "fc":  # outputs of models, which another processor rounds in another way
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)
