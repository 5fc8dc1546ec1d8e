"""The library imports with its core dependencies alone, and quickly."""

import subprocess
import sys

import pytest


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_the_library_brings_in_no_extra() -> None:
    extras = ("sklearn", "matplotlib", "xarray", "h5py", "pandas", "domains", "interpret")
    loaded = run("import separable, separable.layers, separable.galerkin, sys; print(*sys.modules)").split()
    assert not set(extras) & set(loaded)


@pytest.mark.parametrize("missing", ["sklearn", "matplotlib", "xarray"])
def test_the_library_works_without_an_extra_and_says_what_is_missing(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import separable, separable.layers, separable.galerkin, separable.training
try:
    separable.SeparableRegressor
except ImportError as error:
    print("refused")
"""
    assert run(program).strip() == ("refused" if missing == "sklearn" else "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import separable

    with pytest.raises(AttributeError):
        separable.nonsense  # noqa: B018
