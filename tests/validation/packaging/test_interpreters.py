"""The sources are Python of every version that is promised: each that is here compiles them, and mypy checks for each.

Where torch is installed for one version only, this is all that can be run of the others.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.front_door_versions import VERSIONS, interpreter

pytestmark = pytest.mark.validation
ROOT = Path(__file__).parents[3]
FOLDERS = ("separable", "domains", "examples", "datasets", "tests", "tools")


def test_the_project_promises_these_versions() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={VERSIONS[0]}"' in project
    assert re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project) == list(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sources_compile(version, tmp_path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    # Compiled files go elsewhere, so that the checkout stays as it is.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    command = [python, "-W", "error", "-m", "compileall", "-q", "-f", *FOLDERS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("version", VERSIONS[1:])  # 3.10 is what `make lint` checks
def test_the_types_fit(version, tmp_path) -> None:
    command = [sys.executable, "-m", "mypy", "--python-version", version, "--cache-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
