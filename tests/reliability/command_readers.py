"""What the command line reads beside the domains' own files: settings, runs to be told of, what a run keeps."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from domains.command.settings_file import defaults_from
from domains.command.yaml_reader import read_yaml
from domains.language.distillation.students import student_config
from domains.language.reversal import commands as reversal
from domains.language.reversal.train import save
from domains.navigation.commands import train
from separable.records import compare_runs, read_run, write_run_report
from separable.training import RunFolder
from tests.reliability.harness import Reader
from tests.reliability.language_readers import fact_model, small_facts
from tests.reliability.library_readers import CONFIG, make_checkpoint

SETTINGS = "run: runs/policy\nsteps: 20000\nalgorithm: ppo\noptions:\n  wind: 1.5\n  waypoints: 3\n"
STUDENT = {"transformer": {"width": 16, "layers": 1, "heads": 2}, "embedding": "generated:rank=4", "vocabulary": 257}


def make_yaml(folder: Path) -> None:
    (folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")


def make_json(folder: Path) -> None:
    (folder / "settings.json").write_text(json.dumps(read_yaml(SETTINGS)), encoding="utf-8")


def read_settings_file(folder: Path) -> Any:
    """A verb's defaults; NaN is a number that a setting may have, so they are told as text."""
    (file,) = folder.glob("settings.*")
    return repr(sorted(defaults_from(file, train).items()))


def make_record(folder: Path) -> None:
    for name, rate in (("run", 1e-3), ("other", 1e-2)):
        run = RunFolder(folder / name, dataclasses.replace(CONFIG, rate=rate), 0)
        make_checkpoint(run.path)
        for step in range(1, 4):
            run.log(step=step, loss=1 / step)


def read_record(folder: Path) -> Any:
    """All that is told of a run."""
    run = read_run(folder / "run")
    compared = compare_runs([folder / "run", folder / "other"])
    page = write_run_report(folder / "run", output=folder.with_suffix(".html"))
    assert page.stat().st_size
    page.unlink()
    told = [run.settings, run.lines, run.last(), compared.settings, compared.measured]  # NaN may have been measured
    return [json.dumps(told), sorted(run.parameters.items()), compared.text()]


def make_answers(folder: Path) -> None:
    facts = small_facts()
    save(fact_model(facts), folder / "run" / reversal.MODEL, dict(facts.inverses))
    (folder / "run" / reversal.THRESHOLD).write_text(json.dumps({"threshold": 0.25}))


def read_answers(folder: Path) -> Any:
    facts = small_facts()
    fact = facts.train[0]
    found = reversal.ask(f"{fact.head}, {fact.relation}", folder / "run")
    return [found.known, [name for name, _ in found.candidates]]


def make_student(folder: Path) -> None:
    (folder / "student.json").write_text(json.dumps(STUDENT), encoding="utf-8")


def read_student(folder: Path) -> Any:
    return repr(dataclasses.astuple(student_config(str(folder / "student.json"), 257)))


READERS = [
    Reader("settings in YAML", make_yaml, read_settings_file, ("settings.yaml",)),
    Reader("settings in JSON", make_json, read_settings_file, ("settings.json",)),
    Reader(
        "record of a run",
        make_record,
        read_record,
        ("run/config.json", "run/environment.json", "run/metrics.jsonl", "run/last.safetensors"),
        heads=("run/last.safetensors",),
    ),
    Reader("what a model of facts knows", make_answers, read_answers, (f"run/{reversal.THRESHOLD}",)),
    Reader("student", make_student, read_student, ("student.json",)),
]
