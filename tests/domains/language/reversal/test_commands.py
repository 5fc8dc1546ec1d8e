"""A user's facts from the command line: made, trained on, evaluated, asked, and one added."""

import errno
import json

import pytest

from domains.command_line import main
from domains.language.reversal.facts import Fact
from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import load


def run(*arguments):
    return main(["language", "reversal", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reversal")
    facts, out = folder / "facts.jsonl", folder / "run"
    assert run("generate", facts, "--both-ways", 240, "--one-way", 60) == 0
    training = {"steps": 300, "batch": 256, "rate": 5e-3}
    settings = [part for name, value in training.items() for part in (f"--config.training.{name}", value)]
    assert run("train", facts, "--run", out, "--config.model.width", 48, *settings) == 0
    return facts, out


def test_a_run_holds_the_facts_the_model_and_the_record(trained):
    facts, out = trained
    assert read_facts(out / "facts.jsonl") == read_facts(facts)
    assert {path.name for path in (out / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert 0 < json.loads((out / "threshold.json").read_text())["threshold"] < 1


def test_reversed_questions_are_answered_and_strangers_are_not(trained, capsys):
    facts, out = trained
    assert run("evaluate", out) == 0
    told = capsys.readouterr().out
    accuracy = float(told.splitlines()[0].rsplit(" ", 1)[1])
    assert accuracy > 0.8
    asked = read_facts(facts).test[:10]
    right = 0
    for fact in asked:
        assert run("ask", f"who is the {fact.relation} of {fact.head}?", "--run", out) == 0
        right += capsys.readouterr().out.startswith(fact.tail)
    assert right >= 7
    assert run("ask", f"who is Nobody Atall's {asked[0].relation}", "--run", out) == 0
    assert capsys.readouterr().out.startswith("unknown")


def test_a_fact_is_added_once(trained, capsys):
    _, out = trained
    new = Fact("Ada Lindman", "relation0", "Bo Ekdale")
    assert run("add", *new, "--run", out, "--steps", 60) == 0
    assert "Bo Ekdale, inverse0: Ada Lindman" in capsys.readouterr().out
    assert new in read_facts(out / "facts.jsonl").train
    assert run("add", *new, "--run", out) == 1
    assert "given twice" in capsys.readouterr().err


def test_a_run_is_not_trained_again_on_other_facts_or_without_those_that_were_added(tmp_path, capsys):
    facts, out = tmp_path / "facts.jsonl", tmp_path / "run"
    assert run("generate", facts, "--both-ways", 20, "--one-way", 10) == 0
    command = ["train", facts, "--run", out, "--config.training.steps", 2, "--config.model.width", 16]
    assert run(*command) == run(*command) == 0
    whole = facts.read_text()
    first, second = (fact.tail for fact in read_facts(facts).train[:2])
    facts.write_text(whole.replace(first, "?").replace(second, first).replace("?", second))  # names change places
    assert run(*command) == 1
    assert "inputs.facts" in capsys.readouterr().err
    facts.write_text(whole)
    assert run("add", "Ada Lindman", "relation0", "Bo Ekdale", "--run", out, "--steps", 2) == 0
    assert run(*command) == 1
    assert "more facts" in capsys.readouterr().err
    assert Fact("Ada Lindman", "relation0", "Bo Ekdale") in read_facts(out / "facts.jsonl").train


@pytest.mark.parametrize("at", ["save", "FactSet.save"])
def test_a_fact_whose_telling_was_cut_off_can_be_told_again(at, tmp_path, monkeypatch):
    facts, out = tmp_path / "facts.jsonl", tmp_path / "run"
    assert run("generate", facts, "--both-ways", 20, "--one-way", 10) == 0
    assert run("train", facts, "--run", out, "--config.training.steps", 2, "--config.model.width", 16) == 0
    new = Fact("Ada Lindman", "relation0", "Bo Ekdale")

    def full(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(f"domains.language.reversal.{'facts' if '.' in at else 'commands'}.{at}", full)
    assert run("add", *new, "--run", out, "--steps", 2) == 1
    monkeypatch.undo()
    assert run("add", *new, "--run", out, "--steps", 2) == 0
    assert read_facts(out / "facts.jsonl").train.count(new) == 1
    assert set(new[::2]) <= set(load(out / "model")[0].entities)


def test_what_is_wrong_is_told(tmp_path, capsys):
    assert run("forget") == 2
    assert run("ask", "who is Ada's wife", "--run", tmp_path) == 1
    facts = tmp_path / "facts.csv"
    facts.write_text("head,relation,tail\nAda,wife,Bo\n")
    assert run("train", facts, "--run", tmp_path / "run") == 1
    assert f"{facts}:2" in capsys.readouterr().err


def test_a_memory_of_fixed_keys_is_trained_and_answers_whom_it_knows(tmp_path, capsys):
    facts, out = tmp_path / "facts.jsonl", tmp_path / "run"
    assert run("generate", facts, "--both-ways", 20, "--one-way", 10) == 0
    memory = ["--config.model.recogniser.memory", "fixed keys"]
    assert run("train", facts, "--run", out, *memory, "--config.training.steps", 3) == 0
    fact = read_facts(facts).train[0]
    capsys.readouterr()
    assert run("ask", f"{fact.head}, {fact.relation}", "--run", out) == 0
    assert "unknown" not in capsys.readouterr().out
    assert run("ask", f"Nobody Atall, {fact.relation}", "--run", out) == 1
    assert "fixed keys" in capsys.readouterr().err
