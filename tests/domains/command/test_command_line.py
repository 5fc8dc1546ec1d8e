"""The command as a process: how it ends, what it says where, and how soon."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from domains.command_line import DOMAINS, TOP, main

ROOT = Path(__file__).parents[3]


def separable(*words, folder=ROOT, **options):
    command = [sys.executable, "-m", "domains.command_line", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, **options)


def test_done_is_0_refused_is_1_and_not_understood_is_2(tmp_path):
    (tmp_path / "broken.yaml").write_text("path: [")
    for status, words in (
        (0, ["--version"]),
        (1, ["info", "none"]),
        (2, []),
        (2, ["lst"]),
        (2, ["info"]),
        (2, ["list", "--config", "broken.yaml"]),
    ):
        done = separable(*words, folder=tmp_path)
        assert done.returncode == status, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert bool(done.stdout) == (status == 0), words
        assert bool(done.stderr) == (status != 0), words
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]


def test_so_it_is_inside_a_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("path: 3")
    (tmp_path / "unknown.yaml").write_text("paht: runs")
    for status, words in (
        (0, ["--help"]),
        (0, ["turbulence", "--help"]),
        (1, ["compare", "waypoints2d"]),
        (1, ["report", "."]),
        (2, ["turbulence"]),
        (2, ["turbulence", "trian"]),
        (2, ["list", "--config", "wrong.yaml"]),
        (2, ["list", "--config", "unknown.yaml"]),
        (2, ["--completion", "tcsh"]),
        (2, ["--completion"]),
    ):
        assert main(words) == status, words
        told = capsys.readouterr()
        assert bool(told.out) == (status == 0), words
        assert bool(told.err) == (status != 0), words
    for status, words in ((0, ["info", "--help"]), (2, ["list", "--cnfig", "x"])):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == status


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_stopped_is_130(tmp_path):
    os.mkfifo(tmp_path / "waits.yaml")
    command = [sys.executable, "-m", "domains.command_line", "list", "--config", str(tmp_path / "waits.yaml")]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with running, (tmp_path / "waits.yaml").open("w"):  # opens when the command reads
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "stopped" in told
    assert "Traceback" not in told


def test_what_is_there_is_told_without_torch(tmp_path):
    code = (
        "import sys; from domains.command_line import main; "
        "assert main(['--help']) == 0; assert main(['turbulence', '--help']) == 0; assert main(['list']) == 0; "
        "assert main(['info', 'waypoints2d']) == 0; "
        "assert not {'torch', 'numpy', 'matplotlib', 'gymnasium'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    for domain, verbs in DOMAINS.items():
        assert domain.replace(".", " ") in done.stdout
        assert all(verb in done.stdout for verb in verbs)
    for verb in TOP:
        assert f"  {verb} " in done.stdout or verb == "serve"


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("sklearn", ["demo", "runs/none"], "separable[demo]"),
        ("tyro", ["list"], "separable[command]"),
        ("gymnasium", ["navigation", "train"], "separable[navigation]"),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_brings_it(missing, words, extra):
    code = f"import sys; sys.modules[{missing!r}] = None; from domains.command_line import main; exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert missing in done.stderr
    assert extra in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["microstructre"], "microstructure"),
        (["inof"], "info"),
        (["turbulence", "forcast"], "forecast"),
        (["language", "reversl"], "reversal"),
        (["language", "reversal", "asc"], "ask"),
    ],
)
def test_an_unknown_word_suggests_the_nearest(words, meant, capsys):
    assert main(words) == 2
    assert f"mean {meant}?" in capsys.readouterr().err


def test_every_verb_is_there_under_its_name(capsys):
    for domain in DOMAINS:
        assert main([*domain.split("."), "--help"]) == 0
        told = capsys.readouterr().out
        for verb in DOMAINS[domain]:
            line = next(line for line in told.splitlines() if line.split()[:1] == [verb])
            assert len(line.split()) > 2  # a sentence


def test_settings_in_a_file_reach_the_verb(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(json.dumps({"model": "waypoints3d", "out": str(tmp_path / "policy.npz")}))
    assert main(["navigation", "export", "--config", str(tmp_path / "settings.json")]) == 0
    assert (tmp_path / "policy.npz").stat().st_size > 1000
    assert main(["navigation", "export", "--config", str(tmp_path / "settings.json"), "--print-config"]) == 0
    assert '"waypoints3d"' in capsys.readouterr().out
