"""Thousands of damaged files for every reader of the toolkit."""

import pytest

from tests.reliability.harness import faults
from tests.reliability.readers import READERS


@pytest.mark.validation
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_damaged_files_are_refused_or_read_whole(reader, tmp_path, record_property):
    tried, found = faults(reader, tmp_path, amount=25, seed=1)
    record_property("files", tried)
    assert not found, f"{len(found)} of {tried}\n" + "\n".join(found)
