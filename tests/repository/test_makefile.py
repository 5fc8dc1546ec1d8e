"""`make help` explains every target."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_help_explains_every_target():
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split())
    shown = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = dict(re.match(r"make (\w+) +(.*)", line).groups() for line in shown.splitlines())
    assert set(explained) == targets
    assert all(len(sentence.split()) > 2 for sentence in explained.values())
