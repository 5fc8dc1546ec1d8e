"""Every kind of long work, stopped by a full disk again and again, loses nothing and ends as if there had been room."""

import resource
import shutil
import signal

import pytest

from separable.atomic_files import writer
from tests.reliability.jobs import JOBS

ROOM = [10 * 2**power for power in range(5, 16)]  # bytes of a file, after which the system refuses to write


@pytest.mark.validation
@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_job_that_is_stopped_by_full_disks_goes_on_to_the_same_end(job, tmp_path):
    work, kept = tmp_path / "work", tmp_path / "kept"  # in one place, since records name it
    work.mkdir()
    job.prepare(work)
    shutil.copytree(work, kept)
    job.run(work)
    wanted = job.result(work)
    shutil.rmtree(work)
    shutil.copytree(kept, work)

    told, done = list[str](), job.done(work)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in ROOM:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
        try:
            job.run(work)
        except OSError as refused:
            told.append(str(refused))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list(work.rglob(f".*.{writer()}"))
        assert job.done(work) >= done
        done = job.done(work)
    job.run(work)
    assert told
    assert all(str(work) in text for text in told)
    left = job.result(work)
    assert [name for name in wanted.keys() | left.keys() if wanted.get(name) != left.get(name)] == []
