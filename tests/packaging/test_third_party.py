"""THIRD_PARTY.md lists the licence of all that the package and its extras bring in."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("tomllib")  # of Python 3.11
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def third_party():
    described = importlib.util.spec_from_file_location("third_party", ROOT / "tools" / "third_party.py")
    module = importlib.util.module_from_spec(described)
    sys.modules["third_party"] = module
    described.loader.exec_module(module)
    return module


def test_every_dependency_that_the_project_names_is_listed(third_party) -> None:
    listed = third_party.listed()
    for group, wanted in third_party.declared().items():
        for line in wanted:
            if line.name != "separable":
                _, users = listed[line.name.lower()]
                assert {"core", group} & set(users.split(", ")), (line, group)


@pytest.mark.skipif(torch.version.cuda is not None, reason="the list is of torch's CPU build")
def test_what_the_core_brings_in_is_listed_with_the_licence_that_is_stated(third_party) -> None:
    listed = third_party.listed()
    for line in third_party.declared()["core"]:
        for name in third_party.closure(line):
            assert listed[name][0] == third_party.licence(name)


def test_no_licence_binds_what_users_publish(third_party) -> None:
    licences = {name: licence for name, (licence, _) in third_party.listed().items()}
    assert licences["numpy"]
    assert not [name for name, licence in licences.items() if re.search(r"\bA?GPL|General Public|Proprietary", licence)]
