"""Empty environments into which packages that are installed here are linked, one by one, so that nothing is fetched."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest


class Environment:
    """An empty environment in a folder."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.programs = folder / "bin"
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))

    def link(self, names: Iterable[str]) -> None:
        """Packages that are installed here, under the names of their distributions; what is there already stays."""
        for name in names:
            there = metadata.distribution(name)
            for top in {file.parts[0] for file in there.files or () if file.parts[0] not in ("..", "__pycache__")}:
                link = self.site / top
                if not link.exists():
                    link.symlink_to(there.locate_file(top))

    def pip(self, *arguments: str) -> None:
        """Run pip for this environment."""
        python = ("--python", str(self.programs / "python"))
        self.run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *python, *arguments)

    def run(self, *arguments: str | Path, folder: Path | None = None) -> str:
        """What a program prints; an assertion fails if it fails."""
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture
def environment(tmp_path) -> Environment:
    return Environment(tmp_path / "environment")
