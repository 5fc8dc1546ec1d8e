"""A folder is one process's at a time, whatever becomes of the process."""

import multiprocessing
import os
import shutil
import signal
import sys
import time

import pytest

from separable.training import claims
from separable.training.claims import claimed

FORKED = multiprocessing.get_context("fork")  # a new interpreter takes seconds to import torch


def started(action, *arguments):
    """A process that runs something, and a pipe to it."""
    here, there = FORKED.Pipe()
    process = FORKED.Process(target=action, args=(there, *arguments), daemon=True)
    process.start()
    return process, here


def hold(pipe, folder, patience):
    with claimed(folder, patience) as mine:
        pipe.send(mine)
        time.sleep(600)


def race(pipe, folder, go):
    pipe.send("ready")
    while not go.exists():
        pass
    with claimed(folder, 60) as mine:
        pipe.send(mine)
        pipe.recv()  # until all have answered


def killed(holder):
    holder.kill()
    holder.join()


def test_without_locks_a_living_holder_keeps_its_claim_and_a_killed_one_loses_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    holder, pipe = started(hold, tmp_path, 2.0)
    assert pipe.recv() is True
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
    holder, pipe = started(hold, tmp_path, 60.0)
    assert pipe.recv() is True
    with claimed(tmp_path, 60.0) as mine:
        assert not mine
    killed(holder)
    with claimed(tmp_path, 60.0) as mine:
        assert mine


def test_a_holder_that_is_asleep_on_this_machine_is_not_dead(tmp_path):
    pytest.importorskip("fcntl")
    holder, pipe = started(hold, tmp_path, 0.5)
    assert pipe.recv() is True
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.8)
    with claimed(tmp_path, 0.5) as mine:
        assert not mine
    killed(holder)


def test_of_many_that_race_for_a_dead_claim_one_wins(tmp_path):
    (tmp_path / "cell").mkdir()
    dead = tmp_path / "cell" / "claim-0"
    dead.touch()
    os.utime(dead, (1, 1))
    racers = [started(race, tmp_path / "cell", tmp_path / "go") for _ in range(4)]
    assert all(pipe.recv() == "ready" for _, pipe in racers)
    (tmp_path / "go").touch()
    assert sorted(pipe.recv() for _, pipe in racers) == [False, False, False, True]
    for racer, pipe in racers:
        pipe.send("all")
        racer.join()


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


def test_claims_that_are_damaged_are_those_of_the_dead(tmp_path):
    (tmp_path / "claim-0").write_bytes(b"\xff\xfe\x00 not a claim")
    (tmp_path / "claim-of another kind").touch()
    os.utime(tmp_path / "claim-0", (1, 1))  # long ago
    with claimed(tmp_path, 0.5) as mine, claimed(tmp_path, 0.5) as another:
        assert (mine, another) == (True, False)
