"""Front door, validation: the slow evidence of `make validate`, with every long job killed 50 times.

Each file of tests/validation runs in a process of its own. What has passed is kept in
runs/benchmarks/front_door_validation, with its commit, so that a run that was cut off goes on; with names of files only
those are run, and the record is written once none is missing. A trial runs a part of one file.

    python -m benchmarks.front_door_validation [test_killed_jobs ...]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.kept import kept
from benchmarks.pytest_reports import counts, noted
from benchmarks.trial import STUDIES, usual

REPOSITORY = Path(__file__).parents[1]
TESTS = REPOSITORY / "tests" / "validation"
FOLDER = REPOSITORY / STUDIES / "front_door_validation"
PATTERNS = usual(["test_*.py", "*_test.py"], trial=["test_damaged_files.py"])  # as pytest collects
CHOSEN = usual(list[str](), trial=["-k", "settings and JSON"])
KILLS = usual("50", trial="1")


def files() -> list[Path]:
    """Of the slow evidence."""
    return sorted({file for pattern in PATTERNS for file in TESTS.rglob(pattern)})


def ran(file: Path) -> dict[str, Any]:
    """How many of a file's tests passed, failed or were skipped, what they tried, and the seconds they took.

    Raises:
        RuntimeError: nothing was reported.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-o", "norecursedirs=.*", "-o", "junit_family=xunit1"]
        words += [str(file), f"--junitxml={report}", *CHOSEN]
        subprocess.run(words, cwd=REPOSITORY, env={"KILLS": KILLS} | os.environ, check=False)
        count = counts(report)
        tried = noted(report, "files")
    seconds = count.pop("seconds")
    return {
        "file": str(file.relative_to(TESTS)),
        **count,
        **({"damaged files": tried} if tried else {}),
        "seconds": seconds,
        "commit": record.commit(),
    }


def place(file: Path) -> Path:
    """Where the result of a file is kept."""
    return FOLDER / f"{file.stem}.json"


def main(names: list[str]) -> None:
    """Run what is asked for, and record once all is there."""
    for file in files():
        if not names or file.stem in names:
            print(kept(place(file), lambda f=file: ran(f)), flush=True)  # type: ignore[misc]
    if not all(place(file).exists() for file in files()):
        return
    rows = [kept(place(file), dict) for file in files()]
    total = {key: sum(row[key] for row in rows) for key in ("passed", "failed", "skipped", "seconds")}
    record.write(
        "front_door",
        "validation",
        claim=f"The slow evidence holds: {total['passed']} tests pass, {total['failed']} fail, {total['skipped']} are "
        f"skipped, in {total['seconds'] / 60:.0f} minutes, with every long job killed {KILLS} times and "
        f"{sum(row.get('damaged files', 0) for row in rows):,} damaged files read",
        measured=rows,
        target="no test fails",
        holds=not total["failed"] and total["passed"] > 0,
        baselines="none: nothing else makes these promises",
        command="python -m benchmarks.front_door_validation",
        seeds=[],
        spread="one run of each file, other work beside it",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
