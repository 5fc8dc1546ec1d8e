"""Text from files and from the installed Python, split so that nothing leaks, and faults told with file and line."""

import collections
import json
from pathlib import Path

import pytest

from domains.language.corpus import CorpusConfig, documents, part_of
from domains.language.standard_library import documentation, sources


def test_the_standard_library_is_large_clean_and_the_same_each_time() -> None:
    found = list(sources())
    names, texts = zip(*found, strict=True)
    assert found == list(sources())
    assert list(names) == sorted(names, key=lambda name: tuple(name.split("/")))
    assert sum(map(len, texts)) > 8e6
    assert len(set(texts)) == len(texts)
    assert "argparse.py" in names
    assert not any("test" in name.split("/") or "site-packages" in name for name in names)
    for text in texts:
        assert text.endswith("\n")
        assert not any(mark in text for mark in ("\r", "\f", " \n"))


def test_documentation_holds_documentation_and_no_code() -> None:
    found = dict(documentation())
    assert "Command-line parsing library" in found["argparse.py"]
    assert "def _get_action_name" not in found["argparse.py"]
    assert sum(map(len, found.values())) > 1e6


def test_files_are_in_one_part_each_and_the_shares_are_as_asked() -> None:
    config = CorpusConfig(validation=0.1, test=0.1)
    parts = collections.defaultdict(list)
    sizes: collections.Counter[str] = collections.Counter()
    texts = collections.defaultdict(set)
    for document in documents(config):
        parts[document.name].append(document.part)
        texts[document.text].add(document.part)
        sizes[document.part] += 1
    assert all(len(set(found)) == 1 for found in parts.values())
    assert all(len(found) == 1 for found in texts.values())
    total = sum(sizes.values())
    # Binomial shares of some 600 files: four deviations.
    for part, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(sizes[part] - share * total) < 4 * (total * share * (1 - share)) ** 0.5


def test_copies_fall_into_the_same_part(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("the same\n")
    rows = [json.dumps({"text": f"row {i % 50}"}) for i in range(100)]
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    found = collections.defaultdict(set)
    for document in documents(CorpusConfig(str(tmp_path), validation=0.3, test=0.3)):
        found[document.text].add(document.part)
    assert all(len(parts) == 1 for parts in found.values())
    assert len(found) == 51


def test_copies_of_a_long_text_fall_into_the_same_part_as_a_file_and_as_a_row(tmp_path: Path) -> None:
    for number in range(8):  # of which some would fall apart
        text = f"{number} ü {'-' * 100}\n" * (3 * 2**13)  # more than is read at a time
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
        (tmp_path / f"{number}.jsonl").write_text(json.dumps({"text": text}))
    parts = collections.defaultdict(set)
    for document in documents(CorpusConfig(str(tmp_path), validation=0.3, test=0.3)):
        parts[document.text[0]].add(document.part)
    assert len(parts) == 8
    assert all(len(found) == 1 for found in parts.values())


def test_endings_in_capitals_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "A.TXT").write_text("one\n")
    (tmp_path / "b.JSONL").write_text('{"text": "two"}\n')
    assert sorted(document.text for document in documents(CorpusConfig(str(tmp_path)))) == ["one\n", "two"]
    assert next(documents(CorpusConfig(str(tmp_path / "A.TXT"), validation=0, test=0))).text == "one\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-le", "shift-jis"])
def test_bytes_of_another_encoding_are_told_with_their_line(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.txt"
    wrong = {"utf-16-le": b"\x00\xdc", "utf-32-le": b"\xff\xff\xff\xff"}.get(encoding, b"\xff")
    lines = [f"line {number}\n".encode(encoding) for number in range(20_000)]  # more than is looked at together
    for place in (2, 19_000):
        file.write_bytes(b"".join([*lines[:place], wrong, *lines[place:]]))
        with pytest.raises(ValueError, match=f"line {place + 1}:"):
            list(documents(CorpusConfig(str(file), encoding=encoding)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le", "latin-1"])
def test_a_single_text_is_cut_by_position(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "one.txt"
    text = "".join(f"zeile {i:05d} ü\n" for i in range(1000))
    file.write_text(text, encoding=encoding)
    found = list(documents(CorpusConfig(str(file), encoding=encoding, validation=0.2, test=0.1)))
    assert [document.part for document in found] == ["train", "validation", "test"]
    assert "".join(document.text for document in found) == text
    shares = [len(document.text) / len(text) for document in found]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.002)
    only = list(documents(CorpusConfig(str(file), encoding=encoding, validation=0.1, test=0.0)))
    assert [document.part for document in only] == ["train", "validation"]
    whole = list(documents(CorpusConfig(str(file), encoding=encoding, validation=0.0, test=0.0)))
    assert [document.part for document in whole] == ["train"]


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_no_line_falls_into_a_part_without_a_share(tmp_path: Path, shares: tuple[float, float]) -> None:
    file = tmp_path / "one.txt"
    file.write_bytes(b"some text\n" * 50 + b"}\n")  # without the mark that the encoding may have
    config = CorpusConfig(str(file), encoding="utf-8-sig", validation=shares[0], test=shares[1])
    wanted = ["train", *(part for part, share in zip(("validation", "test"), shares, strict=True) if share)]
    found = list(documents(config))
    assert [document.part for document in found] == wanted
    assert "".join(document.text for document in found).encode() == file.read_bytes()
    folder = CorpusConfig(str(tmp_path), encoding="utf-8-sig", validation=shares[0], test=shares[1])
    assert list(documents(folder)) == found  # a folder with no other file is that file


def test_long_texts_come_in_pieces(tmp_path: Path) -> None:
    text = "x" * 2_500_000 + "\n" + "short\n" * 10
    (tmp_path / "long.txt").write_text(text)
    (tmp_path / "other.txt").write_text("other")
    config = CorpusConfig(str(tmp_path))
    found = [document for document in documents(config) if document.name.endswith("long.txt")]
    assert "".join(document.text for document in found) == text
    assert [document.ends for document in found] == [False] * (len(found) - 1) + [True]
    assert len({document.part for document in found}) == 1
    assert max(len(document.text) for document in found) <= 2**20


def test_rows_of_parquet_files_are_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"said": [f"row {i}" for i in range(25)], "other": list(range(25))})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=10)
    found = list(documents(CorpusConfig(str(tmp_path / "rows.parquet"), field="said")))
    assert [document.text for document in found] == [f"row {i}" for i in range(25)]
    with pytest.raises(ValueError) as told:
        list(documents(CorpusConfig(str(tmp_path / "rows.parquet"))))
    assert "said" in str(told.value)
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:100])
    with pytest.raises(ValueError) as told:
        list(documents(CorpusConfig(str(tmp_path / "rows.parquet"), field="said")))
    assert "rows.parquet" in str(told.value)


def test_a_column_that_expands_far_beyond_text_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    line = "the same line again, as a log repeats it\n"
    for name, text in (("bomb", " " * 2**27), ("log", line * 2**20)):  # 128 MiB, and 41 that are no more than usual
        table = pyarrow.table({"beside": [{"a": 1, "b": 2}], "text": [text]})
        parquet.write_table(table, tmp_path / f"{name}.parquet", compression="zstd")
    with pytest.raises(ValueError, match=r"bomb\.parquet"):
        next(documents(CorpusConfig(str(tmp_path / "bomb.parquet"))))
    (found,) = documents(CorpusConfig(str(tmp_path / "log.parquet")))
    assert len(found.text) == len(line) * 2**20


def test_other_encodings_are_read_when_they_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("déjà vu\n".encode("latin-1"))
    assert next(documents(CorpusConfig(str(file), encoding="latin-1"))).text == "déjà vu\n"


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("bad.txt", b"fine\nfine\nd\xe9j\xe0\n", "line 3"),
        ("bad.jsonl", b'{"text": "fine"}\n\n{"text": "cut\n', "line 3"),
        ("bad.jsonl", b'{"text": "fine"}\n{"words": "none"}\n', "line 2"),
        ("bad.jsonl", b'{"text": 3}\n', "line 1"),
        ("bad.jsonl", b"[1, 2]\n", "line 1"),
        ("bad.jsonl", b'{"text": "\xe9"}\n', "line 1"),
        ("bad.jsonl", b'{"text": "fine"}\n{"text": "half \\ud800"}\n', "line 2"),
    ],
)
def test_faults_are_told_with_file_and_line(tmp_path: Path, name: str, content: bytes, place: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as told:
        list(documents(CorpusConfig(str(tmp_path / name))))
    assert str(tmp_path / name) in str(told.value)
    assert place in str(told.value)


def test_a_source_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "image.png").write_bytes(b"")
    (tmp_path / "none").mkdir()
    for source in ("empty.txt", "image.png", "none"):
        with pytest.raises(ValueError):
            list(documents(CorpusConfig(str(tmp_path / source))))
    with pytest.raises(FileNotFoundError):
        list(documents(CorpusConfig(str(tmp_path / "nowhere"))))


@pytest.mark.parametrize("fields", [{"validation": 0.6, "test": 0.4}, {"test": -0.1}, {"encoding": "utf-9"}])
def test_settings_that_make_no_sense_are_refused(fields) -> None:
    with pytest.raises(ValueError):
        CorpusConfig(**fields)


def test_parts_do_not_change_with_other_documents() -> None:
    config = CorpusConfig(validation=0.25, test=0.25)
    found = collections.Counter(part_of(f"text {i}", config) for i in range(4000))
    assert found["train"] == pytest.approx(2000, abs=130)
    assert found["test"] == pytest.approx(1000, abs=110)
