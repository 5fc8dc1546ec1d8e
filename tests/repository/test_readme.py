"""The README's code runs, its links lead somewhere, and RESULTS.md is what the records say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_code_on_the_first_screen_runs(capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "rmse" in capsys.readouterr().out


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "LIMITS.md", "CHANGELOG.md")]
    documents += [*ROOT.glob("domains/*/README.md"), *ROOT.glob("datasets/*/README.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("https://") or (document.parent / target).exists(), (document, target)


def test_results_are_generated_from_the_records(tmp_path) -> None:
    record = pytest.importorskip("benchmarks.record")
    record.publish(tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == (ROOT / "RESULTS.md").read_text()
