"""Tokenisers give back every text, and say what bytes a token stands for."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.language.tokenisers import END, BytePairTokeniser, ByteTokeniser, Tokeniser, load_tokeniser

TEXTS = ["def low(lower): return lowest", "élan 漢字 😀 naïve", "for i in range(10):\n    print(i)\n"] * 5
PAIRS = BytePairTokeniser.trained(TEXTS, 300)
BOTH = [ByteTokeniser(), PAIRS]


@pytest.mark.parametrize("tokeniser", BOTH, ids=["bytes", "bpe"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_every_text_comes_back(tokeniser: Tokeniser, text: str) -> None:
    check_round_trip(tokeniser, text)


@pytest.mark.parametrize("tokeniser", BOTH, ids=["bytes", "bpe"])
@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", f"a{END}b{END}", END, "<|end|" + END, "\x00\u200b", "e\u0301", "🏳️‍🌈"]
)
def test_awkward_texts_come_back(tokeniser: Tokeniser, text: str) -> None:
    check_round_trip(tokeniser, text)


def check_round_trip(tokeniser: Tokeniser, text: str) -> None:
    tokens = tokeniser.encode(text)
    assert tokeniser.end not in tokens
    assert b"".join(tokeniser.token_bytes(token) for token in tokens) == text.encode()
    assert tokeniser.decode(tokens) == text
    assert "".join(tokeniser.stream(tokens)) == text
    assert int(tokeniser.lengths[tokens].sum()) == len(text.encode())


@pytest.mark.parametrize("tokeniser", BOTH, ids=["bytes", "bpe"])
def test_a_tokeniser_comes_back_from_its_file(tokeniser: Tokeniser, tmp_path: Path) -> None:
    tokeniser.save(tmp_path)
    found = load_tokeniser(tmp_path)
    assert found.digest == tokeniser.digest
    assert found.encode(TEXTS[1]).tolist() == tokeniser.encode(TEXTS[1]).tolist()
    assert json.loads((tmp_path / "tokenizer.json").read_text())


def test_byte_pairs_shorten_what_they_were_trained_on() -> None:
    assert len(PAIRS.encode(TEXTS[0])) < 0.5 * len(TEXTS[0].encode())
    assert PAIRS.vocabulary == 300
    assert sorted(PAIRS.lengths.tolist())[:2] == [0, 1]  # the end stands for nothing
    again = BytePairTokeniser.trained(TEXTS, 300)
    assert again.digest == PAIRS.digest
    assert BytePairTokeniser.trained(TEXTS, 290).digest != PAIRS.digest


def test_an_unfinished_character_is_not_shown() -> None:
    tokens = ByteTokeniser().encode("a漢")
    assert list(ByteTokeniser().stream(tokens[:3])) == ["a", "\ufffd"]
    assert ByteTokeniser().decode([97, 256, 98]) == "ab"


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for tokeniser in BOTH:
        with pytest.raises(ValueError):
            tokeniser.encode("half a \ud83d pair")
        for token in (-1, tokeniser.vocabulary):
            with pytest.raises(IndexError):
                tokeniser.token_bytes(token)
    for vocabulary in (256, 10_000):
        with pytest.raises(ValueError):
            BytePairTokeniser.trained(TEXTS, vocabulary)
    with pytest.raises(FileNotFoundError):
        load_tokeniser(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"kind": "words"}')
    with pytest.raises(ValueError) as told:
        load_tokeniser(tmp_path)
    assert str(tmp_path) in str(told.value)


def test_runs_without_a_break_are_learnt_from_in_parts() -> None:
    """The time to learn grows with the square of a part."""
    text = "a " * 5000 + "bc" * 2100 + " " * 2500 + "d"
    parts = ["a " * 5000 + "bc" * 1000, "bc" * 1000, "bc" * 100 + " " * 2000, " " * 500 + "d"]
    tokeniser = BytePairTokeniser.trained([text], 268)
    assert tokeniser.digest == BytePairTokeniser.trained(parts, 268).digest
    assert tokeniser.decode(tokeniser.encode(text)) == text
