"""Run folders keep what was measured, and reports stand alone."""

import json
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

from separable.atomic_files import writer
from separable.training import Report, RunFolder
from separable.training.learning_curve import write_training_report
from separable.training.run_lock import sole_user

matplotlib.use("Agg")


def test_a_run_folder_keeps_settings_environment_and_measurements(tmp_path) -> None:
    run = RunFolder(tmp_path / "run", {"rank": 3}, seed=7)
    run.log(step=1, loss=0.5)
    run.log(step=2, loss=0.25)
    assert json.loads((run.path / "config.json").read_text()) == {"rank": 3}
    recorded = json.loads((run.path / "environment.json").read_text())
    assert recorded["seed"] == 7
    assert "torch" in recorded["versions"]
    assert [line["loss"] for line in run.metrics()] == [0.5, 0.25]


def test_a_folder_of_another_run_is_not_overwritten(tmp_path) -> None:
    RunFolder(tmp_path, {"rank": 3}, seed=0)
    RunFolder(tmp_path, {"rank": 3}, seed=0)
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path, {"rank": 4}, seed=0)
    assert json.loads((tmp_path / "config.json").read_text()) == {"rank": 3}


def test_a_setting_that_is_not_a_number_is_no_other_than_itself(tmp_path) -> None:
    settings = {"rate": np.nan, "inner": {"bounds": [0.0, np.nan]}}
    RunFolder(tmp_path, settings, seed=0)
    RunFolder(tmp_path, settings, seed=0)
    with pytest.raises(FileExistsError, match="rate"):
        RunFolder(tmp_path, {**settings, "rate": 0.5}, seed=0)


def test_a_run_on_other_inputs_is_not_gone_on_with(tmp_path) -> None:
    RunFolder(tmp_path / "new", {"rank": 3}, 0, {"corpus": "a1"})
    RunFolder(tmp_path / "new", {"rank": 3}, 0, {"corpus": "a1"})
    with pytest.raises(FileExistsError, match=r"inputs\.corpus"):
        RunFolder(tmp_path / "new", {"rank": 3}, 0, {"corpus": "b2"})
    RunFolder(tmp_path / "old", {"rank": 3}, 0)  # as versions before wrote it
    RunFolder(tmp_path / "old", {"rank": 3}, 0, {"corpus": "a1"})
    assert json.loads((tmp_path / "old" / "config.json").read_text()) == {"rank": 3}


def test_what_another_process_uses_is_left_as_it_is(tmp_path, monkeypatch) -> None:
    RunFolder(tmp_path, {"training": {"accumulation": 1}}, seed=0)
    monkeypatch.setattr(sys, "argv", ["another"])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    with sole_user(tmp_path):
        RunFolder(tmp_path, {"training": {"accumulation": 2}}, seed=0)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json")} == before
    RunFolder(tmp_path, {"training": {"accumulation": 2}}, seed=0)
    assert json.loads((tmp_path / "config.json").read_text())["training"]["accumulation"] == 2
    assert json.loads((tmp_path / "environment.json").read_text())["command"] == "another"


@pytest.mark.parametrize("holder", ["lives", "is dead", "was killed"])
def test_what_is_half_written_goes_with_its_writer_only(tmp_path, holder) -> None:
    """A process that has let go of a folder may still write what needs no lock."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine = writer().rpartition("-")[0]
    half = tmp_path / f".curves.png.{machine}-{process.pid}"
    half.mkdir()
    (tmp_path / ".lock").write_text(f"{machine}-{process.pid}" + ("" if holder == "was killed" else " let go"))
    if holder != "lives":
        process.communicate(b"\n")
    with sole_user(tmp_path):
        assert half.exists() == (holder == "lives")
    if holder == "lives":
        process.communicate(b"\n")


def test_a_line_cut_off_by_a_crash_does_not_lose_the_others(tmp_path) -> None:
    run = RunFolder(tmp_path, {}, seed=0)
    run.log(step=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [line["step"] for line in run.metrics()] == [1]
    RunFolder(tmp_path, {}, seed=0).log(step=3)
    run.log(step=4)
    assert [line["step"] for line in run.metrics()] == [1, 3, 4]


def test_the_table_of_evaluations_has_each_once_and_the_last(tmp_path) -> None:
    run = RunFolder(tmp_path, {}, seed=0)
    for step in range(21):
        run.log(step=step, seconds=1.0 * step, scores={"error": 0.5})
    write_training_report(run, "many")
    steps = re.findall(r"<tr><td>(\d+)</td>", (run.path / "report.html").read_text())
    assert steps == [str(step) for step in range(0, 21, 2)]


def test_a_report_is_one_file_that_fetches_nothing_and_escapes_text(tmp_path) -> None:
    import matplotlib.pyplot as plt

    run = RunFolder(tmp_path, {}, seed=0)
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    picture = run.figure("line", figure)
    page = Report("A <b>title</b>", "Summary & more")
    page.section("One")
    page.table([{"model": "<ours>", "error": 0.123456}, {"model": "theirs", "error": 2.0}], best=0)
    page.picture(picture, "A line")
    page.code("x < y")
    text = page.html()
    assert "<b>" not in text
    assert "&lt;ours&gt;" in text
    assert "0.123<" in text
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]*)"', text))
    assert "http" not in text


def test_values_of_a_table_stand_under_their_keys() -> None:
    page = Report("A title", "A summary")
    page.table([{"model": "a", "error": 0.5}, {"error": 0.25, "model": "b"}, {"model": "c", "steps": 7}])
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page.html())]
    assert rows == [["model", "error", "steps"], ["a", "0.5", "-"], ["b", "0.25", "-"], ["c", "-", "7"]]


def test_a_table_of_no_rows_is_told() -> None:
    page = Report("A title", "A summary")
    page.table([])
    assert "No rows." in page.html()


def test_the_parts_of_a_step_are_not_the_runs_own(tmp_path):
    RunFolder(tmp_path, {"training": {"batch": 8, "accumulation": 2}}, 0)
    RunFolder(tmp_path, {"training": {"batch": 8, "accumulation": 1}}, 0)  # by two processes
    RunFolder(tmp_path, {"training": {"batch": 8}}, 0)
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path, {"training": {"batch": 4, "accumulation": 2}}, 0)


def test_numbers_of_numpy_and_torch_are_written_as_plain_ones(tmp_path):
    run = RunFolder(tmp_path / "run", {"steps": np.int64(5), "sizes": np.array([2, 3])}, seed=0)
    run.log(step=np.int64(1), loss=np.float32(0.5), parts=torch.tensor([1.0, 2.0]))
    assert json.loads((run.path / "config.json").read_text()) == {"steps": 5, "sizes": [2, 3]}
    line = run.metrics()[0]
    assert (line["step"], line["loss"], line["parts"]) == (1, 0.5, [1.0, 2.0])
    with pytest.raises(TypeError, match="got a object"):
        run.log(step=object())
    assert len(run.metrics()) == 1
