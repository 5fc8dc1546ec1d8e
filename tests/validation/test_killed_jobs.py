"""Every kind of long work, killed at random moments, ends as if it had not been; KILLS=50 kills each 50 times."""

import os

import pytest

from tests.reliability.jobs import JOBS
from tests.reliability.killing import faults_of_killing

KILLS = int(os.environ.get("KILLS", "5"))


@pytest.mark.validation
@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_job_that_is_killed_goes_on_to_the_same_end(job, tmp_path):
    killed, found = faults_of_killing(job, tmp_path / "job", KILLS)
    assert not found
    assert killed >= KILLS
