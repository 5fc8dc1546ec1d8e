"""Every example at its default size, under a minute of the processor."""

import resource
from pathlib import Path

import pytest

from tests.examples.test_examples import EXAMPLES, run


@pytest.mark.validation
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_takes_less_than_a_minute(example: Path, tmp_path: Path) -> None:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    run(example, tmp_path)
    assert spent() - before < 60
