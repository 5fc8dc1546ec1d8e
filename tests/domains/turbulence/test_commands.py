"""The command as a user types it."""

import re
from pathlib import Path

import pytest

from domains.command_line import main
from domains.turbulence.readers import read_flow

SMALL = ["--config.trajectories", "3", "--config.frames", "4", "--config.spin-up", "1", "--processes", "1"]


def test_a_data_set_is_made_and_left_alone_the_second_time(tmp_path, capsys):
    command = ["turbulence", "generate", str(tmp_path / "flow"), "--config.size", "16", "16", *SMALL]
    assert main(command) == 0
    assert "3 trajectories of 4 frames" in capsys.readouterr().out
    before = [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "flow").iterdir()]
    assert main(command) == 0
    assert before == [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "flow").iterdir()]
    assert main([*command, "--config.seed", "1"]) == 1
    assert read_flow(tmp_path / "flow").fields.shape == (3, 4, 16, 16)


def test_another_flow_is_a_word_at_the_end(tmp_path):
    words = ["--config.size", "48", "--config.lengths", "32", *SMALL, "config.flow:kuramoto-sivashinsky"]
    assert main(["turbulence", "generate", str(tmp_path / "flow"), *words]) == 0
    assert read_flow(tmp_path / "flow").variable == "velocity"


def test_what_cannot_be_done_ends_with_one_and_says_why(tmp_path, capsys):
    assert main(["turbulence", "generate", str(tmp_path), "--config.step", "5", "--config.spacing", "5", *SMALL]) == 1
    assert "step of at most" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["turbulence", "generate", str(tmp_path / "b"), "--config.size", "16"])


def test_the_code_of_the_readme_runs():
    readme = Path(__file__).parents[3] / "domains" / "turbulence" / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
