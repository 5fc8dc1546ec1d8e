"""Every kind of long work, killed at random moments 54 times in all, ends as if it had not been."""

import pytest

from tests.reliability.jobs import JOBS
from tests.reliability.killing import faults_of_killing


@pytest.mark.validation
@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_job_that_is_killed_goes_on_to_the_same_end(job, tmp_path):
    # Cells are written into one file, where a kill can hit the writing of any block.
    killed, found = faults_of_killing(job, tmp_path / "job", kills=9 if job.name == "cells" else 5)
    assert killed >= 5
    assert not found
