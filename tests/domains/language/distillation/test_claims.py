"""A folder is one process's at a time, whatever becomes of the process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domains.language.distillation.claims import claimed

HOLDER = """
import sys, time
from domains.language.distillation.claims import claimed
with claimed(sys.argv[1], float(sys.argv[2])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
RACER = """
import sys, time
from domains.language.distillation.claims import claimed
from pathlib import Path
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    pass
with claimed(sys.argv[1], 60) as mine:
    print(mine, flush=True)
    sys.stdin.readline()  # until all have answered
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=Path(__file__).parents[4], **pipes)


def killed(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.communicate()


def test_a_living_holder_keeps_its_claim_and_a_killed_one_loses_it(tmp_path):
    holder = started(HOLDER, tmp_path, 2.0)
    assert holder.stdout.readline() == "True\n"
    time.sleep(3.0)  # longer than the patience: only its signs of life keep the claim
    with claimed(tmp_path, 2.0) as mine:
        assert not mine
    killed(holder)
    with claimed(tmp_path, 2.0) as mine:
        assert not mine  # nobody can know yet
    time.sleep(2.2)
    with claimed(tmp_path, 2.0) as mine, claimed(tmp_path, 2.0) as another:
        assert (mine, another) == (True, False)


def test_a_holder_that_is_asleep_on_this_machine_is_not_dead(tmp_path):
    pytest.importorskip("fcntl")
    holder = started(HOLDER, tmp_path, 0.5)
    assert holder.stdout.readline() == "True\n"
    holder.send_signal(signal.SIGSTOP)
    time.sleep(0.8)
    with claimed(tmp_path, 0.5) as mine:
        assert not mine
    killed(holder)


def test_of_many_that_race_for_a_dead_claim_one_wins(tmp_path):
    (tmp_path / "cell").mkdir()
    dead = tmp_path / "cell" / "claim-0"
    dead.touch()
    os.utime(dead, (1, 1))
    racers = [started(RACER, tmp_path / "cell", tmp_path / "go") for _ in range(4)]
    assert all(racer.stdout.readline() == "ready\n" for racer in racers)
    (tmp_path / "go").touch()
    answers = [racer.stdout.readline().strip() for racer in racers]
    for racer in racers:
        racer.communicate("\n")
    assert sorted(answers) == ["False", "False", "False", "True"]


def test_a_claim_is_let_go_when_its_work_fails(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path):
        raise KeyError
    with claimed(tmp_path) as mine:
        assert mine
    with pytest.raises(ValueError), claimed(tmp_path, 0.0):
        pass
