"""A folder is one process's at a time, whatever becomes of the process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from separable.training import claims
from separable.training.claims import claimed

HOLDER = """
import sys, time
if sys.argv[3:] == ["no locks"]:
    sys.modules["fcntl"] = None
from separable.training.claims import claimed
with claimed(sys.argv[1], float(sys.argv[2])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
RACER = """
import sys, time
from separable.training.claims import claimed
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
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)


def killed(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.communicate()


def test_without_locks_a_living_holder_keeps_its_claim_and_a_killed_one_loses_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    holder = started(HOLDER, tmp_path, 2.0, "no locks")
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


def test_a_holder_that_was_killed_on_this_machine_is_not_waited_for(tmp_path):
    pytest.importorskip("fcntl")
    holder = started(HOLDER, tmp_path, 60.0)
    assert holder.stdout.readline() == "True\n"
    with claimed(tmp_path, 60.0) as mine:
        assert not mine
    killed(holder)
    with claimed(tmp_path, 60.0) as mine:
        assert mine


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


def test_a_folder_goes_with_its_claim_unless_another_took_over(tmp_path):
    with claimed(tmp_path / "a", remove=True):
        (tmp_path / "a" / "half").touch()
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path / "b", remove=True) as mine:
        assert mine
        (tmp_path / "b" / "claim-1").touch()  # by a process that took us for dead
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["claim-0", "claim-1"]
    assert (tmp_path / "b" / "claim-0").stat().st_mtime > 0


def test_a_folder_that_is_removed_while_it_is_looked_at_is_not_ours(tmp_path, monkeypatch):
    def removed(folder):
        shutil.rmtree(folder)
        return -1

    monkeypatch.setattr(claims, "_last", removed)
    with claimed(tmp_path / "a") as mine:
        assert not mine


def test_pieces_of_others_are_waited_for_and_taken_over_when_they_are_free():
    told, answers = [], {1: [True], 2: [False, False, True], 3: [True]}
    claims.work_through([1, 2, 3], lambda piece: answers[piece].pop(0), patience=0.01, show=told.append)
    assert answers == {1: [], 2: [], 3: []}
    assert told == [False, False, True, False]
