"""Runs side by side."""

import base64
import math
import re

import pytest

from separable.records import compare_runs
from separable.training import RunFolder


def made(folder, settings, losses):
    run = RunFolder(folder, settings, seed=0)
    for step, loss in enumerate(losses):
        run.log(step=step, loss=loss)
    return run.path


def test_only_what_differs_is_told_and_what_is_missing_is_none(tmp_path):
    one = made(tmp_path / "one", {"rank": 4.0, "training": {"steps": 3, "rate": math.nan}, "kind": None}, [3.0, 1.0])
    two = made(tmp_path / "two", {"rank": 4, "training": {"steps": 5, "rate": math.nan}, "extra": [1, 2]}, [2.0, 0.5])
    found = compare_runs([one, two])
    assert found.names == ("one", "two")
    assert found.settings == {"training.steps": (3, 5), "extra": (None, [1, 2])}  # "kind" is None in both
    assert found.measured == {"step": (1, 1), "loss": (1.0, 0.5)}
    told = [line.split() for line in found.text().splitlines()]
    assert ["training.steps", "3", "5"] in told
    assert ["loss", "1", "0.5"] in told


def test_seeds_are_told_where_the_settings_do_not_name_them(tmp_path):
    folders = [RunFolder(tmp_path / str(seed), {"rank": 4}, seed).path for seed in (3, 5)]
    assert compare_runs(folders).settings == {"seed": (3, 5)}
    named = [RunFolder(tmp_path / f"named {s}", {"training": {"seed": s}}, s).path for s in (3, 5)]
    assert compare_runs(named).settings == {"training.seed": (3, 5)}


def test_the_last_value_is_told_even_where_it_is_no_number_and_what_differs_is_seen(tmp_path):
    corpus = "/data/a/long/way/down/to/a/corpus/of/texts/number_"
    one = made(tmp_path / "one", {"source": f"{corpus}1", "rate": 0.1234567}, [0.1, float("nan")])
    two = made(tmp_path / "two", {"source": f"{corpus}2", "rate": 0.1234568}, [0.3, 0.2])
    told = [line.split() for line in compare_runs([one, two]).text().splitlines()]
    assert ["loss", "nan", "0.2"] in told
    assert ["source", f"{corpus}1", f"{corpus}2"] in told
    assert ["rate", "0.1234567", "0.1234568"] in told


def test_runs_of_the_same_name_are_told_by_the_folders_above(tmp_path):
    made(tmp_path / "a" / "run", {"rank": 4}, [1.0])
    made(tmp_path / "b" / "run", {"rank": 4}, [1.0])
    found = compare_runs([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    assert found.names == ("a/run", "b/run")
    assert found.settings == {}


def test_the_curves_are_those_of_the_runs(tmp_path):
    one = made(tmp_path / "one", {"rank": 4}, [3.0, 2.0, 1.0])
    two = made(tmp_path / "two", {"rank": 8}, [2.0, 0.5])
    axis = compare_runs([one, two]).figure().axes[0]
    assert [line.get_ydata().tolist() for line in axis.lines] == [[3.0, 2.0, 1.0], [2.0, 0.5]]
    assert [line.get_xdata().tolist() for line in axis.lines] == [[0, 1, 2], [0, 1]]


def test_clocks_counters_and_speeds_are_not_drawn(tmp_path):
    run = RunFolder(tmp_path / "run", {"rank": 4}, seed=0)
    for step in (10, 20, 30):
        run.log(step=step, tokens=512 * step, loss=1 / step, seconds=step, tokens_per_second=51.2, error=0.0)
    other = made(tmp_path / "other", {"rank": 8}, [2.0, 0.5])
    axes = compare_runs([run.path, other]).figure().axes
    assert [axis.get_title() for axis in axes] == ["loss", "error"]


def test_a_page_stands_alone_and_a_picture_is_one(tmp_path):
    one = made(tmp_path / "one<b>", {"rank": 4}, [3.0, 2.0, 1.0])
    two = made(tmp_path / "two", {"rank": 8}, [2.0, 0.5])
    found = compare_runs([one, two])
    page = found.write(tmp_path / "new" / "page.html").read_text()
    assert "one&lt;b&gt;" in page
    assert "<b>" not in page
    assert re.findall(r"(?:src|href)=.(.{5})", page) == ["data:"]
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert picture.startswith(b"\x89PNG")
    assert found.write(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    one = made(tmp_path / "one", {"rank": 4}, [])
    two = made(tmp_path / "two", {"rank": 8}, [])
    for wrong in ([one], [one, one], [one, one / "figures" / ".."]):
        with pytest.raises(ValueError):
            compare_runs(wrong)
    with pytest.raises(FileNotFoundError):
        compare_runs([one, tmp_path / "none"])
    found = compare_runs([one, two])
    for name in ("page.pdf", "no_curves.png"):
        with pytest.raises(ValueError):
            found.write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
