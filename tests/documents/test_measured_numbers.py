"""Numbers in the documents lead to a record, and are read from it as the record has them."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "gallery" not in path.parts]


def load(name: str):
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_extensions" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


measured = load("measured")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    content = {
        "measured": [{"kind": "a", "ms": 0.25, "share": 0.5}, {"kind": "b", "ms": 1234.5, "share": 0.25}],
        "baselines": {"peer, ms": 2, "numbers": 2252928},
        "claim": "It is so.",
    }
    (tmp_path / "area-1.json").write_text(json.dumps(content))
    (tmp_path / "area-10.json").write_text(json.dumps(content | {"measured": "0.2 of it"}))
    (tmp_path / "area-2.json").write_text(json.dumps(content))


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("area-1 > kind=a > ms", "0.25"),
        ("area-1 > measured > kind=b > ms", "1,234"),
        ("area-1 > kind=b > share as .0%", "25%"),
        ("area-1 > baselines > peer, ms", "2"),
        ("area-1 > baselines > numbers", "2,252,928"),
        ("area-10 > measured", "0.2 of it"),
        ("area-1 > claim", "It is so."),
    ],
)
def test_a_reference_leads_to_a_number(reference: str, shown: str) -> None:
    assert measured.value(reference) == shown


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "reference",
    [
        "area-1",
        "area-3 > ms",
        "../area-1 > ms",
        "area-1 > ms",
        "area-1 > kind=c > ms",
        "area-1 > kind=a > s",
        "area-1 > measured",
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(ValueError):
        measured.value(reference)


@pytest.mark.usefixtures("record")
def test_tables_show_the_rows_and_columns_asked_for() -> None:
    rows = measured.record("area-1")["measured"]
    assert measured.table(rows) == [["kind", "ms", "share"], ["a", "0.25", "0.5"], ["b", "1,234", "0.25"]]
    assert measured.table(rows, ["ms"], ["kind=a"]) == [["ms"], ["0.25"]]
    assert measured.table({"p": 2, "q": 0.125}, ["q"]) == [["what", "value"], ["q", "0.125"]]
    for columns, conditions in ((["hours"], []), ([], ["kind=c"]), ([], ["kind"])):
        with pytest.raises(ValueError):
            measured.table(rows, columns, conditions)


@pytest.mark.usefixtures("record")
def test_the_records_of_an_area_come_in_the_order_of_their_numbers() -> None:
    assert [name for name, _ in measured.area("area")] == ["area-1", "area-2", "area-10"]
    with pytest.raises(ValueError):
        measured.area("nothing")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_number_of_a_page_leads_to_a_record(page: Path) -> None:
    text = page.read_text()
    for reference in re.findall(r"\{measured\}`([^`]+)`", text):
        assert measured.value(reference)
    for name, options in re.findall(r"^```\{record\} (\S+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        content, given = measured.record(name), dict(re.findall(r"^:(\w+): *(.*)$", options, flags=re.MULTILINE))
        columns, where = measured.listed(given.get("columns", "")), measured.listed(given.get("where", ""), ";")
        assert measured.table(content["measured"], columns, where)
        if "baselines" in given:
            assert measured.table(content["baselines"], measured.listed(given["baselines"]))
    for name in re.findall(r"^```\{records\} (\S+)", text, flags=re.MULTILINE):
        assert measured.area(name)


def test_separators_inside_names_are_escaped() -> None:
    assert measured.listed(r"a, time\, ms,b ") == ["a", "time, ms", "b"]
    assert measured.listed("a=1, 2; b=3", ";") == ["a=1, 2", "b=3"]
