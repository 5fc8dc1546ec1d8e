"""THIRD_PARTY.md lists the licence of all that the package and its extras bring in."""

import re

import pytest
import torch

third_party = pytest.importorskip("tools.third_party")  # reads pyproject.toml, from Python 3.11 on


def test_every_dependency_that_the_project_names_is_listed() -> None:
    listed = third_party.listed()
    for group, wanted in third_party.declared().items():
        for line in wanted:
            if line.name != "separable":
                _, users = listed[line.name.lower()]
                assert {"core", group} & set(users.split(", ")), (line, group)


@pytest.mark.skipif(torch.version.cuda is not None, reason="the list is of torch's CPU build")
def test_what_the_core_brings_in_is_listed_with_the_licence_that_is_stated() -> None:
    listed = third_party.listed()
    for line in third_party.declared()["core"]:
        for name in third_party.closure(line):
            assert listed[name][0] == third_party.licence(name)


def test_no_licence_binds_what_users_publish() -> None:
    licences = {name: licence for name, (licence, _) in third_party.listed().items()}
    assert licences["numpy"]
    assert not [name for name, licence in licences.items() if re.search(r"\bA?GPL|General Public|Proprietary", licence)]
