"""Memory that is kept while a training runs, as the system counts it: pages it had to bring, and pages in use."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="the C library is another"
)
Counts = dict[str, int]

# Run in a process of its own, whose allocator nobody has touched.
_COUNTED = """
import contextlib, json, resource
import torch
from separable.training import ShuffledRows, TrainingConfig, run_training
from separable.training.allocation import memory_kept

def brought():
    "Pages, by the system, until now."
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def again(megabytes=64):
    "Pages brought in the last of four rounds of work with large pieces, when all of them have found their place."
    for _ in range(4):
        before = brought()
        for _ in range(5):
            torch.ones(megabytes << 18)
    return brought() - before

def in_use():
    "Megabytes."
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

def trained():
    "Pages brought in the last three of twelve steps of a training with products of 64 MB."
    counts = []
    def loss(model, batch):
        counts.append(brought())
        return model(batch).square().mean()
    rows = ShuffledRows(4096, lambda places: torch.ones(len(places), 8))
    config = TrainingConfig(steps=12, batch=4096, rate=1e-3, warm_up=1)
    run_training(torch.nn.Linear(8, 4096), loss, rows, config, progress=False)
    return counts[-1] - counts[-4]

torch.set_num_threads(1)
told = {"alone": again()}
start = in_use()
with memory_kept():
    with memory_kept():
        told["kept"] = again()
    told["still in use"] = in_use() - start
told["in use at the end"] = in_use() - start
told["in steps"] = trained()
print(json.dumps(told))
"""


def _counted(**environment: str) -> Counts:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", _COUNTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**clean, **environment})
    counts: Counts = json.loads(done.stdout)
    return counts


@pytest.fixture(scope="module")
def usual() -> Counts:
    return _counted()


@pytest.fixture(scope="module")
def set_by_the_environment() -> Counts:
    return _counted(MALLOC_ARENA_MAX="4")


def test_pages_are_brought_once_while_memory_is_kept(usual: Counts) -> None:
    assert usual["alone"] > 5 * 32  # of 2 MB each, or more that are smaller
    assert usual["kept"] < usual["alone"] / 10


def test_memory_goes_back_when_the_last_user_leaves(usual: Counts) -> None:
    assert usual["still in use"] > 50
    assert usual["in use at the end"] < 30


def test_steps_of_a_training_keep_memory(usual: Counts, set_by_the_environment: Counts) -> None:
    assert usual["in steps"] < set_by_the_environment["in steps"] / 4


def test_an_allocator_that_the_environment_sets_is_left_alone(set_by_the_environment: Counts) -> None:
    assert set_by_the_environment["kept"] > set_by_the_environment["alone"] / 2
