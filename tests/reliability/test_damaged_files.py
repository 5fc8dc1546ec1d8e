"""What is damaged is refused by name or read whole; thousands of such files are tried in tests/validation."""

import pytest

from tests.reliability.harness import faults
from tests.reliability.readers import READERS


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_damaged_files_are_refused_or_read_whole(reader, tmp_path):
    tried, found = faults(reader, tmp_path, amount=1)
    assert tried >= 6 * len(reader.files)
    assert not found, "\n".join(found)
