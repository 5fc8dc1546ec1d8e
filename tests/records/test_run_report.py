"""Reports made from folders."""

from PIL import Image

from separable.records import write_run_report
from separable.training import RunFolder


def test_a_report_holds_settings_measurements_pictures_and_samples(tmp_path):
    run = RunFolder(tmp_path / "run", {"rank": 4321, "name": "<script>"}, seed=0)
    for step in (1, 2):
        run.log(step=step, loss=0.125 / step, sample=f"once upon {step}")
    Image.new("L", (2, 2)).save(run.path / "figures" / "cells.png")
    page = write_run_report(run.path)
    text = page.read_text()
    assert page == run.path / "report.html"
    for wanted in ("4,321", "0.0625", "cells.png", "once upon 2", "metrics.jsonl", "&lt;script&gt;"):
        assert wanted in text
    assert text.count("data:image/png") == 2  # the curves and the picture
    assert "<script>" not in text


def test_a_report_of_another_command_is_kept_and_our_own_is_replaced(tmp_path):
    run = RunFolder(tmp_path, {"rank": 4}, seed=0)
    run.write("report.html", "what cannot be told from the folder")
    for _ in range(2):
        write_run_report(run.path)
        assert (run.path / "report_before.html").read_text() == "what cannot be told from the folder"
    assert "rank" in (run.path / "report.html").read_text()


def test_a_report_elsewhere_leaves_the_folder_alone(tmp_path):
    run = RunFolder(tmp_path / "run", {"rank": 4}, seed=0)
    run.write("report.html", "kept")
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    write_run_report(run.path, output=tmp_path / "elsewhere" / "page.html")
    assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == before
    assert "rank" in (tmp_path / "elsewhere" / "page.html").read_text()
