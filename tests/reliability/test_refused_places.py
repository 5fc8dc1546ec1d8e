"""A full disk, a folder that may not be written, a folder in use: told, and what was finished is kept."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from separable.atomic_files import refuse_without_room, writer
from separable.training.run_lock import sole_user
from tests.reliability.jobs import JOBS
from tests.reliability.killing import start

FOLDERS = {
    "tokens": "tokens",
    "cells": ".cells.h5.parts",
    "stored logits": "logits",
    "model of cells": "run",
    "policy": "run",
    "training loop": "run",
    "capacity gap": "run/teacher-12000-seed_0",
    "compared embeddings": "run/table_table-tied_false-seed_0",
    "instructed model": "run",
    "student": "run/teacher",
    "stress": "run",
    "flows of a gas": "gas_periodic.h5.parts",
    "forecaster by innovations": "run",
    "forecaster by tokens": "run/coder",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Puts what a job needs, which is made once, into a folder, and gives the job."""
    jobs, made = {job.name: job for job in JOBS}, {}

    def prepare(name, folder):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("prepared")
            jobs[name].prepare(made[name])
        shutil.copytree(made[name], folder, dirs_exist_ok=True)
        return jobs[name]

    return prepare


@pytest.fixture(autouse=True)
def blank_pictures(monkeypatch):
    """Learning curves are files too, but drawing one takes longer than the training that it shows."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **settings: file.write_bytes(bytes(20_000)))


SHARED = ("cells", "flows of a gas")  # which processes divide


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in SHARED])
def test_a_second_process_in_the_same_folder_is_told(prepared, name, tmp_path):
    job = prepared(name, tmp_path)
    place = tmp_path / FOLDERS[name]
    place.mkdir(parents=True, exist_ok=True)
    with sole_user(place), pytest.raises(RuntimeError) as told:
        job.run(tmp_path)
    assert str(place) in str(told.value)


LIMITS = {  # bytes, more than the first file that a job writes and fewer than one of the next
    "stored logits": 1_500,
    "model of cells": 40_000,
    "policy": 12_000,
    "tokens": 300,
    "training loop": 500,
    "cells": 1_000,
    "capacity gap": 20_000,
    "compared embeddings": 20_000,
    "instructed model": 20_000,
    "student": 20_000,
    "stress": 20_000,
    "flows of a gas": 1_000,
    "forecaster by innovations": 20_000,
    "forecaster by tokens": 20_000,
}


@pytest.mark.parametrize(("name", "most"), LIMITS.items())
def test_a_disk_that_is_full_is_told_and_the_work_goes_on_when_it_is_not(prepared, name, most, tmp_path):
    """No file may grow beyond some bytes: the system then refuses to write, as it does where no space is left."""
    job = prepared(name, tmp_path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(OSError) as told:
            job.run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path) in str(told.value)
    assert not list(tmp_path.rglob(f".*.{writer()}"))
    before = job.done(tmp_path)
    job.run(tmp_path)
    assert job.done(tmp_path) > before


FILLED = [*(("fields", most) for most in (4_096, 100_000, 200_000, 277_000)), ("flights", 10_000), ("cell", 10_000)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Where something was written by `filling`, which starts once, what was told there, and the exit code."""
    folders = {case: tmp_path_factory.mktemp("filled") for case in FILLED}
    words = [str(word) for case, folder in folders.items() for word in (*case, folder)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.reliability.filling", *words], check=True)

    def found(kind, most):
        folder = folders[kind, most]
        told, ended = Path(f"{folder}.told"), Path(f"{folder}.ended")
        return folder / f"{kind}.h5", told.read_text() if told.exists() else "nothing", int(ended.read_text())

    return found


@pytest.mark.parametrize(("kind", "most"), FILLED[:4])
def test_a_process_whose_disk_was_full_while_it_wrote_hdf5_ends_as_others_do(filled, kind, most):
    """HDF5's own writing leaves a file that cannot be closed, at which the process dies of signal 11 when it ends."""
    file, told, code = filled(kind, most)
    assert told == f"{errno.EFBIG} [Errno {errno.EFBIG}] {file}: {os.strerror(errno.EFBIG)}"
    assert code == 0


@pytest.mark.parametrize(("kind", "most"), FILLED[4:])
def test_what_is_written_as_hdf5_on_a_full_disk_is_told_and_leaves_nothing(filled, kind, most):
    file, told, code = filled(kind, most)
    assert told.startswith(f"{errno.EFBIG} ")
    assert str(file) in told
    assert code == 0
    assert not list(file.parent.iterdir())


def test_a_disk_with_too_little_room_is_told_before_anything_is_written(tmp_path):
    refuse_without_room(tmp_path, shutil.disk_usage(tmp_path).free // 2)
    with pytest.raises(OSError) as told:
        refuse_without_room(tmp_path, 2**60)
    assert told.value.errno == errno.ENOSPC


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the rights of root, which a read-only folder does not stop, away")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_may_not_be_written_is_told_and_nothing_changes(prepared, name):
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        folder = Path(made)
        job = prepared(name, folder)
        folder.chmod(0o755)
        (folder / FOLDERS[name]).mkdir(parents=True, exist_ok=True)
        for child in (folder, *folder.rglob("*")):
            child.chmod(0o555 if child.is_dir() else 0o444)
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for file in (folder / FOLDERS[name]).glob("index.json"):
            file.unlink()  # so that there is work to do
            del before[file]
        assert os.waitpid(start(lambda: check_refused_to_nobody(job, folder)), 0)[1] == 0
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def check_refused_to_nobody(job, folder):
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(OSError) as told:
        job.run(folder)
    assert str(folder) in str(told.value)
