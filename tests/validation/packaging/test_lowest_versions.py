"""The core works with the lowest versions that it states, but for torch, of which the installed version is taken."""

import sys

import pytest
from packaging.requirements import Requirement

third_party = pytest.importorskip("tools.third_party")  # reads pyproject.toml, from Python 3.11 on
pytestmark = [
    pytest.mark.validation,
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="the lowest versions have no wheels for this Python"),
]
TESTS = ("atoms/test_b_spline.py", "interactions", "inversion", "fitting/test_fit.py", "distributions/test_crps.py")
LAYERS = ("layers/test_separable_layer.py", "layers/test_separable_layer_module.py", "layers/test_leviathan.py")


def lowest(line: Requirement) -> str:
    """The requirement of exactly the version that a requirement states as the least."""
    (least,) = (part.version for part in line.specifier if part.operator == ">=")
    return f"{line.name}=={least}"


def test_the_core_with_the_lowest_versions(environment) -> None:
    core = third_party.declared()["core"]
    environment.pip("install", "--no-deps", *(lowest(line) for line in core if line.name != "torch"))
    for line in [*core, Requirement("pytest"), Requirement("hypothesis")]:
        environment.link(third_party.closure(line))
    tests = [third_party.ROOT / "tests" / name for name in (*TESTS, *LAYERS)]
    report = environment.run(
        environment.programs / "python", "-B", "-m", "pytest", "-q", *tests, folder=third_party.ROOT
    )
    assert " passed" in report
