"""Tokens on disk are those of the text, whole after any interruption, and read in an order that goes on exactly."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from domains.language import shards
from domains.language.corpus import CorpusConfig, documents
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import BytePairTokeniser, load_tokeniser
from domains.language.tokens import Tokens, WindowStream


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TokenizeConfig:
    source = tmp_path_factory.mktemp("text")
    for i in range(40):
        (source / f"{i:02d}.txt").write_text(f"document {i}: " + f"{i} ü 漢 " * (5 + 3 * i), encoding="utf-8")
    return TokenizeConfig(CorpusConfig(str(source), validation=0.2, test=0.2), shard=500)


@pytest.fixture(scope="module")
def folder(config: TokenizeConfig, tmp_path_factory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), config, progress=False)


def test_the_tokens_are_those_of_the_documents(config: TokenizeConfig, folder: Path) -> None:
    tokens = Tokens(folder)
    counts = np.zeros(257, int)
    for name in ("train", "validation", "test"):
        expected, size = [], 0
        for document in documents(config.corpus):
            if document.part == name:
                expected += [*document.text.encode(), 256]
                size += len(document.text.encode())
        part = tokens.part(name)
        assert part.read(0, len(part)).tolist() == expected
        assert (part.bytes, part.documents) == (size, expected.count(256))
        assert part.read(480, 1020).tolist() == expected[480:1020]  # over the ends of shards
        if name == "train":
            counts += np.bincount(expected, minlength=257)
    assert tokens.counts().tolist() == counts.tolist()
    ranks = tokens.ranks()
    assert sorted(ranks) == list(range(257))
    assert (np.diff(counts[np.argsort(ranks)]) <= 0).all()
    assert len(list(folder.glob("train-*.bin"))) > 3
    assert (folder / "train-00000.bin").stat().st_size == 1000  # 500 ids in two bytes each
    assert np.fromfile(folder / "train-00000.bin", "<u2").max() < 257


@pytest.mark.parametrize("after", [0, 1, 4, 9, 14])
def test_a_writing_that_was_killed_goes_on_to_the_same_bytes(
    config: TokenizeConfig, folder: Path, tmp_path: Path, monkeypatch, after: int
) -> None:
    # Killed before the file with this number is put in place.
    write, calls = shards._Writing._write, 0

    def killed(self, name: str, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(shards._Writing, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            write_tokens(tmp_path, config, progress=False)
    with pytest.raises(FileNotFoundError):
        Tokens(tmp_path)
    write_tokens(tmp_path, config, progress=False)
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in folder.iterdir()}


def test_finished_tokens_are_left_and_others_refused(config: TokenizeConfig, folder: Path) -> None:
    before = (folder / "index.json").stat().st_mtime_ns
    write_tokens(folder, config, progress=False)
    assert (folder / "index.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError):
        write_tokens(folder, dataclasses.replace(config, shard=100), progress=False)


@pytest.mark.parametrize("finished", [True, False])
def test_tokens_of_other_files_are_told(tmp_path: Path, monkeypatch, finished: bool) -> None:
    source, folder = tmp_path / "text", tmp_path / "tokens"
    source.mkdir()
    for name in "bcd":
        (source / f"{name}.txt").write_text(f"{name}\n" * 400)
    config = TokenizeConfig(CorpusConfig(str(source), validation=0, test=0), shard=500)
    if finished:
        write_tokens(folder, config, progress=False)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(shards._Writing, "finish", lambda self: None)
            write_tokens(folder, config, progress=False)
    (source / "a.txt").write_text("a\n")  # before the others
    with pytest.raises(ValueError, match="files"):
        write_tokens(folder, config, progress=False)
    (source / "a.txt").unlink()
    write_tokens(folder, config, progress=False)
    shutil.rmtree(source)
    if finished:
        write_tokens(folder, config, progress=False)  # tokens are enough without the text
    assert len(Tokens(folder).part("train")) == 3 * 801


def test_byte_pairs_and_large_vocabularies(config: TokenizeConfig, tmp_path: Path) -> None:
    tokens = Tokens(write_tokens(tmp_path, dataclasses.replace(config, vocabulary=275), progress=False))
    part = tokens.part("train")
    decoded = tokens.tokeniser.decode(part.read(0, len(part)))
    assert decoded == "".join(document.text for document in documents(config.corpus) if document.part == "train")
    assert len(part) < 0.6 * part.bytes
    tokens.check_model(275)
    with pytest.raises(ValueError):
        tokens.check_model(274)


def test_another_tokeniser_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    BytePairTokeniser.trained(["some text to learn from, some text"], 260).save(tmp_path)
    with pytest.raises(ValueError) as told:
        Tokens(tmp_path)
    assert load_tokeniser(tmp_path).digest in str(told.value)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "counts", "index"])
def test_damaged_files_are_told(folder: Path, tmp_path: Path, damage: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    name = {"counts": "counts.bin", "index": "index.json"}.get(damage, "train-00001.bin")
    content = (tmp_path / name).read_bytes()
    if damage == "missing":
        (tmp_path / name).unlink()
    elif damage in ("cut", "index"):
        (tmp_path / name).write_bytes(content[:-7])
    else:
        (tmp_path / name).write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    with pytest.raises(ValueError) as told:
        opened(tmp_path)
    assert str(tmp_path / name) in str(told.value)


def opened(folder: Path) -> None:
    tokens = Tokens(folder)
    tokens.part("train")
    tokens.counts()


def test_text_for_training_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n")
    (tmp_path / "b.txt").write_text("b\n")
    corpus = CorpusConfig(str(tmp_path), validation=0.5, test=0.499)
    with pytest.raises(ValueError):
        write_tokens(tmp_path / "tokens", TokenizeConfig(corpus), progress=False)
    with pytest.raises(FileNotFoundError):
        Tokens(tmp_path)
    for fields in ({"vocabulary": 256}, {"shard": 0}, {"training_text": 0.0}):
        with pytest.raises(ValueError):
            TokenizeConfig(**fields)


def test_windows_cover_each_epoch_once_and_shift_between_epochs(folder: Path) -> None:
    part = Tokens(folder).part("train")
    stream = WindowStream(part, 32, seed=3)
    everything = part.read(0, len(part))
    offsets = set()
    for _ in range(4):
        starts = stream.draw(stream.windows)
        assert len({start % 32 for start in starts}) == 1
        assert sorted(np.diff(np.sort(starts))) == [32] * (len(starts) - 1)
        offsets.add(int(starts.min()))
        inputs, targets = stream.load(starts[:5])
        for start, row, following in zip(starts, inputs.tolist(), targets.tolist(), strict=False):
            assert row == everything[start : start + 32].tolist()
            assert following == everything[start + 1 : start + 33].tolist()
    assert len(offsets) > 1
    assert stream.windows * 32 > len(part) - 3 * 32


def test_every_token_is_a_target_in_some_epoch(folder: Path) -> None:
    part = Tokens(folder).part("train")
    context = len(part) // 2 - 20  # two windows would fit, but then none could begin elsewhere
    stream = WindowStream(part, context, seed=0)
    seen = np.zeros(len(part), dtype=bool)
    for start in stream.draw(300 * stream.windows):
        seen[start + 1 : start + context + 1] = True
    assert seen[1:].mean() > 0.99


def test_a_stream_goes_on_where_it_was(folder: Path) -> None:
    part = Tokens(folder).part("train")
    stream = WindowStream(part, 16, seed=1)
    stream.draw(stream.windows + 5)
    state = json.loads(json.dumps(stream.state()))
    expected = stream.draw(70).tolist()
    other = WindowStream(part, 16, seed=1)
    other.restore(state)
    assert other.draw(70).tolist() == expected
    assert WindowStream(part, 16, seed=2).draw(70).tolist() != WindowStream(part, 16, seed=1).draw(70).tolist()
    for wrong in (WindowStream(part, 17, seed=1), WindowStream(part, 16, seed=2)):
        with pytest.raises(ValueError):
            wrong.restore(state)
    for context in (0, len(part)):
        with pytest.raises(ValueError):
            WindowStream(part, context)
    with pytest.raises(ValueError, match="order"):  # of a version whose windows lay elsewhere
        other.restore({name: value for name, value in state.items() if name != "order"})
    shortest = WindowStream(part, len(part) - 1)
    assert shortest.draw(2).tolist() == [0, 0]
