"""Front door, versions: every test on each Python that is promised, and with the lowest versions that are stated.

Each has an environment of its own below build/, made by the targets of the Makefile that a user has too: `make suite`
with that Python, and `make lowest`. What has run is kept in runs/benchmarks/front_door_versions with its commit, so
that a run that was cut off goes on; with names only those are run, and the record is written once none is missing.

    python -m benchmarks.front_door_versions [3.10 3.11 3.12 3.13 lowest]

Needs interpreters of all versions, on PATH or beside the one that runs. A trial runs one file of tests by `make suite`
in the environment that it runs in.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.kept import kept
from benchmarks.pytest_reports import counts
from benchmarks.trial import STUDIES, TRIAL, usual

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / STUDIES / "front_door_versions"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
LOWEST = "lowest"
ENVIRONMENTS = usual((*VERSIONS, LOWEST), trial=("at hand",))
TESTS = usual("", trial="tests/atoms/test_atom.py")  # all by default
TOLD = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib", "xarray", "gymnasium", "stable-baselines3")
_SAY = "import importlib.metadata as m, platform, sys; print(platform.python_version(), *map(m.version, sys.argv[1:]))"


def interpreter(version: str) -> Path | None:
    """A Python of this version that starts, from PATH or beside the one that runs."""
    known = [shutil.which(f"python{version}")]
    known += sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python{version}"))
    for found in filter(None, known):
        if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(found)
    return None


def ran(name: str) -> dict[str, Any]:
    """Every test on one version, or with the lowest versions of all dependencies.

    Raises:
        RuntimeError: there is no such Python here, or no test was run.
    """
    environment = REPOSITORY / "build" / (name if name == LOWEST else f"python{name}")
    if name == LOWEST:
        words = ["make", "lowest"]
    elif TRIAL:
        environment = Path(sys.prefix)
        words = ["make", "suite", "--old-file=install", f"VENV={environment}"]
    else:
        python = interpreter(name)
        if python is None:
            raise RuntimeError(f"there is no Python {name} here")
        words = ["make", "suite", f"PYTHON={python}", f"VENV={environment.relative_to(REPOSITORY)}"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = {"PYTEST_ADDOPTS": f"--junitxml={report} -o junit_family=xunit1 {TESTS}"}
        subprocess.run(words, cwd=REPOSITORY, env=os.environ | options, check=False)
        count = counts(report)
    asked = [environment / "bin" / "python", "-c", _SAY, *TOLD]
    told = subprocess.run(asked, capture_output=True, text=True, check=True)
    versions = dict(zip(("python", *TOLD), told.stdout.split(), strict=True))
    return {"environment": name, **count, **versions, "commit": record.commit()}


def main(names: list[str]) -> None:
    """Run what is asked for, and record once all is there."""
    for name in names or ENVIRONMENTS:
        print(kept(FOLDER / f"{name}.json", lambda n=name: ran(n)), flush=True)  # type: ignore[misc]
    if not all((FOLDER / f"{name}.json").exists() for name in ENVIRONMENTS):
        return
    rows = [kept(FOLDER / f"{name}.json", dict) for name in ENVIRONMENTS]
    failed = sum(row["failed"] for row in rows)
    record.write(
        "front_door",
        "versions",
        claim=f"The tests on Python {', '.join(VERSIONS)}, and with the lowest versions that are stated: at least "
        f"{min(row['passed'] for row in rows):,} pass in each environment, {failed} fail",
        measured=rows,
        target="no test fails in any environment",
        holds=not failed and all(row["passed"] > 0 for row in rows),
        baselines="none: nothing else makes this promise",
        command="python -m benchmarks.front_door_versions",
        seeds=[],
        spread="one run of each environment",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
