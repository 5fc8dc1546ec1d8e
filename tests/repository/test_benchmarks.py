"""`make benchmark` repeats every record, by the command that the record names."""

import json
from pathlib import Path

import pytest

from benchmarks.commands import Command, commands, known

RECORDS = sorted((Path(__file__).parents[2] / "benchmarks/results").glob("*.json"))


def test_commands_are_read_as_a_shell_reads_them():
    line = "MINUTES=8 ARMS='pruned scratch' python -m benchmarks.distillation_sweep --names 'a b' c"
    command = Command.read(line)
    assert command.name == "distillation_sweep"
    assert command.settings == (("MINUTES", "8"), ("ARMS", "pruned scratch"))
    assert command.arguments == ("--names", "a b", "c")
    assert Command.read(str(command)) == command
    assert Command.read("python -m benchmarks library_tables") == Command("library_tables")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "python",
        "python -m pytest",
        "python -m benchmarks",
        "python -m benchmarks.none",
        "MINUTES python -m benchmarks.x",
    ],
)
def test_what_runs_no_benchmark_is_refused(line):
    with pytest.raises(ValueError, match="command"):
        Command.read(line)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_record_is_repeated(path):
    assert Command.read(json.loads(path.read_text())["command"]) in commands()


def test_every_benchmark_is_run():
    assert {command.name for command in commands()} == set(known())
    assert {"library_feynman", "turbulence_forecast"} < set(known())


def test_the_callers_settings_come_first(monkeypatch):
    ran = {}
    monkeypatch.setattr("subprocess.run", lambda words, env, **_: ran.update(words=words, env=env) or Done())
    monkeypatch.setenv("MINUTES", "1")
    assert Command.read("MINUTES=8 SEEDS=2 python -m benchmarks.library_grid 3").run()
    assert ran["words"][1:] == ["-m", "benchmarks.library_grid", "3"]
    assert (ran["env"]["MINUTES"], ran["env"]["SEEDS"]) == ("1", "2")


class Done:
    """A process that went well."""

    returncode = 0
