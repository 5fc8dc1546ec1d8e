"""Work that is killed goes on to the same end; every kind of work is killed 5 times and more in tests/validation."""

import pytest

from tests.reliability.jobs import JOBS
from tests.reliability.killing import faults_of_killing

QUICK = ("stored logits", "cells", "policy")


@pytest.mark.parametrize("job", [job for job in JOBS if job.name in QUICK], ids=str)
def test_a_job_that_is_killed_goes_on_to_the_same_end(job, tmp_path):
    killed, found = faults_of_killing(job, tmp_path / "job", kills=2)
    assert killed >= 2
    assert not found
