"""`make benchmark` writes every record, and with them RESULTS.md whole: shown with each benchmark at its least size.

A trial of each command that the records name writes, below runs/trial, records of the same names with the same columns,
and pictures of the same names. What the numbers are is for the full sizes to tell.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commands import Command, commands
from benchmarks.record import AREAS

pytestmark = pytest.mark.validation

ROOT = Path(__file__).parents[2]
TRIED = ROOT / "runs/trial"
RECORDS = sorted((ROOT / "benchmarks/results").glob("*.json"))
MINUTES = 5.0  # the most a trial may take
NEEDS = {"microstructure-forward_diffusion": ROOT.parent / "shared/data/microstructure/taufactor_electrode.tiff"}


@pytest.fixture(scope="module", autouse=True)
def nothing_kept():
    """Studies go on from what an earlier trial has finished, which here would show less."""
    shutil.rmtree(TRIED, ignore_errors=True)


def columns(value: Any) -> set[str]:
    """Names of a table's columns or of a dictionary's numbers, up to the sizes that they tell."""
    rows = value if isinstance(value, list) else [value]
    return {re.sub(r"\d[\d.,]*", "#", name) for row in rows if isinstance(row, dict) for name in row}


@pytest.mark.parametrize("command", commands(), ids=str)
def test_each_benchmark_writes_its_records(command: Command):
    committed = {path.stem: json.loads(path.read_text()) for path in RECORDS}
    own = [name for name, content in committed.items() if Command.read(content["command"]) == command]
    words = [sys.executable, "-m", f"benchmarks.{command.name}", *command.arguments]
    settings = os.environ | dict(command.settings) | {"TRIAL": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60 * MINUTES)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for name in own:
        if name in NEEDS and not NEEDS[name].exists():
            continue
        written = json.loads((TRIED / f"results/{name}.json").read_text())
        assert written.keys() == committed[name].keys()
        for part in ("measured", "baselines"):
            assert columns(committed[name][part]) <= columns(written[part]), (name, part)
        if (ROOT / f"benchmarks/results/{name}.png").exists():
            assert (TRIED / f"results/{name}.png").stat().st_size > 1000


def test_the_page_is_made_from_all_records():
    published = "from benchmarks import record; record.publish()"
    subprocess.run([sys.executable, "-c", published], cwd=ROOT, env=os.environ | {"TRIAL": "1"}, check=True)
    tried, page = (headings(place / "RESULTS.md") for place in (TRIED, ROOT))
    assert page.difference(tried) == {f"### {title(name)}" for name, path in NEEDS.items() if not path.exists()}


def title(name: str) -> str:
    """Of a record's part of the page."""
    area, item = name.split("-")
    return f"{AREAS[area]} {item}"


def headings(page: Path) -> set[str]:
    """Titles of a page's parts."""
    return set(re.findall(r"^#+ .*$", page.read_text(), flags=re.MULTILINE))
