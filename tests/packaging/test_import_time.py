"""Importing is quick: the library waits with torch until it is used, and brings in nothing that a use does not need."""

import os
import statistics
import subprocess
import sys

import pytest

EXTRAS = ("matplotlib", "h5py", "xarray", "sklearn", "pandas", "gymnasium", "stable_baselines3", "tokenizers", "tyro")


def seconds(program: str) -> float:
    """Processor time of a program in a new interpreter; unlike the clock's it does not depend on what else runs."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    """Names of the modules that are there after the import, and after first use."""
    program = """
import sys, separable
print(*sys.modules)
separable.SeparableLayer, separable.fit, separable.grow, separable.condition, separable.invert
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported, used = done.stdout.splitlines()
    return {"imported": set(imported.split()), "used": set(used.split())}


def test_importing_takes_less_than_half_a_second_beyond_torch() -> None:
    assert statistics.median(seconds("import separable") for _ in range(3)) < 0.5


def test_importing_waits_with_torch_until_it_is_used(modules: dict[str, set[str]]) -> None:
    assert not {"torch", "numpy", "scipy", *EXTRAS} & modules["imported"]


def test_using_brings_in_no_extra_and_nothing_slow(modules: dict[str, set[str]]) -> None:
    assert "torch" in modules["used"]
    slow = {"scipy.stats", "torch._dynamo"}  # they take as long as half of torch, and longer
    assert not {*EXTRAS, *slow} & modules["used"]
