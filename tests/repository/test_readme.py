"""The README's links lead somewhere, its numbers and RESULTS.md are what the records say."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_row_of_what_exists_leads_to_an_example_a_page_and_a_result() -> None:
    table = README.partition("## What exists")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    headings = re.findall(r"^#+ (.*)$", (ROOT / "RESULTS.md").read_text(), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(rows) > 15
    for row in rows:
        links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", row)
        assert any(target.startswith("examples/") for target, _ in links), row
        assert any(target.startswith("docs/") for target, _ in links), row
        measured = {anchor for target, anchor in links if target == "RESULTS.md"}
        assert measured or "tests, no record yet" in re.sub(r"\[(.*?)\]\(.*?\)", r"\1", row), row
        assert measured <= anchors, row


def test_every_example_is_in_the_table() -> None:
    linked = set(re.findall(r"\(examples/([^)]+)\)", README))
    assert linked == {path.name for path in (ROOT / "examples").glob("[0-9]*.py")}


def test_the_measured_result_of_the_first_screen_is_that_of_its_record() -> None:
    claim = json.loads((ROOT / "benchmarks" / "results" / "library-1.json").read_text())["claim"]
    share, ratio = re.search(r"in (1/\d+) of its wall time", claim), re.search(r"test errors ([\d.]+)", claim)
    told = " ".join(README.split())
    assert f"in {share[1]} of the time" in told
    assert float(re.search(r"test error (\d+) times lower", told)[1]) == pytest.approx(1 / float(ratio[1]), rel=0.05)


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "LIMITS.md", "CHANGELOG.md")]
    documents += [*ROOT.glob("domains/*/README.md"), *ROOT.glob("datasets/*/README.md")]
    documents += [path for path in ROOT.glob("docs/**/*.md") if "gallery" not in path.parts]
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            generated = target.startswith(("gallery/", "../gallery/"))  # by the build of the documents
            there = target.startswith("https://") or generated or (document.parent / target).exists()
            assert there, (document, target)


def test_results_are_generated_from_the_records(tmp_path) -> None:
    record = pytest.importorskip("benchmarks.record")
    record.publish(tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == (ROOT / "RESULTS.md").read_text()
