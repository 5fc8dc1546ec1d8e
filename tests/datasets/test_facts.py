"""The samples are what their scripts make, and their cards' code runs."""

import json
import re
import runpy
from pathlib import Path

import pytest

from domains.language.reversal.arithmetic import arithmetic_task, chained
from domains.language.reversal.facts import Fact
from domains.language.reversal.generate import reversible_facts
from domains.language.reversal.reader import read_facts

DATASETS = Path(__file__).parents[2] / "datasets"


@pytest.mark.parametrize("name", ["surface.h5", "people.jsonl"])
def test_reversible_facts_are_those_of_the_stated_configuration(name):
    path = DATASETS / "reversible_facts" / name
    assert path.stat().st_size <= 300_000
    configs = runpy.run_path(str(path.with_name("generate.py")))["CONFIGS"]
    facts = read_facts(path)
    assert facts == reversible_facts(configs[name])
    card = path.with_name("README.md").read_text()
    assert f"| {len(facts.entities):,} | {len(facts.train):,} | {len(facts.test):,} |" in card


def test_arithmetic_chains_are_those_of_the_stated_configuration():
    path = DATASETS / "arithmetic_chains" / "sample.jsonl"
    assert path.stat().st_size <= 500_000
    made = runpy.run_path(str(path.with_name("generate.py")))
    assert path.read_text() == "".join(made["lines"](arithmetic_task(made["CONFIG"])))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    told = [Fact(row["head"], row["relation"], row["tail"]) for row in rows if row["part"] != "answer"]
    answers = {row["head"]: row["tail"] for row in rows if row["part"] == "answer"}
    found = chained(told, 61)
    assert {name: found[name] for name in answers} == answers


@pytest.mark.parametrize("name", ["reversible_facts", "arithmetic_chains"])
def test_the_code_of_the_card_runs(name, monkeypatch):
    monkeypatch.chdir(DATASETS.parent)
    blocks = re.findall(r"```python\n(.*?)```", (DATASETS / name / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
