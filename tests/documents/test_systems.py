"""The pages of the published systems: one for each, in three parts, named by the overview."""

import re
from pathlib import Path

import pytest

SYSTEMS = Path(__file__).parents[2] / "docs" / "systems"
OVERVIEW = (SYSTEMS / "index.md").read_text()
PAGES = sorted(path for path in SYSTEMS.glob("*.md") if path.stem != "index")
# The publications that the library reimplements, and the page of each.
PUBLISHED = {
    "KHRONOS": "khronos_janus",
    "Janus": "khronos_janus",
    "VSNA": "variational",
    "SPAN": "span",
    "Leviathan": "leviathan",
    "The tokenised forecaster of turbulence": "turbulence_tokens",
    "MiniMA": "capacity_gap",
    "JEPA with memory": "reversal",
}


def test_every_published_system_has_a_page_and_every_page_a_system() -> None:
    assert {path.stem for path in PAGES} == set(PUBLISHED.values())


def test_the_overview_names_every_system_with_its_page() -> None:
    rows = re.findall(r"^\| ([^|]+) \| \[[^]]+\]\((\w+)\.md\) \| (.+) \|$", OVERVIEW, flags=re.MULTILINE)
    assert sorted(page for _, page, _ in rows) == [path.stem for path in PAGES]
    for system, page in PUBLISHED.items():
        assert any(system in named and page == there for named, there, _ in rows), system
    listed = OVERVIEW.partition("```{toctree}")[2].split("```")[0].split()[1:]
    assert sorted(listed) == [path.stem for path in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_three_parts(page: Path) -> None:
    text = page.read_text()
    _, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert parts[::2] == ["As published", "As here", "What we measured"]
    published, here, measured = (part.strip() for part in parts[1::2])
    assert re.search(r"https?://|arXiv", published)
    assert re.search(r"`(separable|domains)[\w. ]+`", here)
    assert re.search(r"\{records?\}|\{measured\}", measured)
