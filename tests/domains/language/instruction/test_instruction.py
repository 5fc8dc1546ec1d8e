"""Instructions have the answers that are right, and a model is trained on answers alone."""

import itertools
import json
import re

import numpy as np
import pytest
import torch

from domains.command_line import main
from domains.language.instruction.chat import Message, asked, encode, exchange, padded, read_conversations
from domains.language.instruction.tasks import TASKS, Instruction, instructions
from domains.language.instruction.train import InstructionConfig, accuracy, answer_loss, reply, tune
from domains.language.tokenisers import BytePairTokeniser, ByteTokeniser
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import RunFolder, TrainingConfig

TOKENISER = ByteTokeniser()
NUMBERS = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b}


def solved(question: str) -> str:
    """The answer, from the words of the question alone."""
    words = re.findall(r"\w+", question)
    if "backwards" in words:
        return "".join(reversed(words[3]))
    if "capital" in words:
        return "".join(chr(ord(letter) - 32) for letter in words[3])
    if words[0] == "Say":
        return " ".join(itertools.repeat(words[1], int(words[2])))
    if "letter" in words:
        return str(sum(letter == words[6] for letter in words[8]))
    if words[0] == "What" and words[1] == "is" and words[3] in NUMBERS:
        return str(NUMBERS[words[3]](int(words[2]), int(words[4])))
    if "greater" in words:
        return str(sorted([int(words[3]), int(words[5])])[1])
    listed = question.partition(": ")[2].strip(".?").split(", ")
    if words[0] == "Sort":
        return ", ".join(sorted(listed, key=int))
    if "things" in words:
        return str(question.count(",") + 1)
    if "these" in words:
        return listed[0] if "first" in words else listed[-1]
    facts = re.findall(r"(\w+) has a (\w+) (\w+)\.", question)
    last = question.rpartition(". ")[2]
    for name, colour, thing in facts:
        if last == f"Who has the {thing}?":
            return name
        if last == f"What colour is the {thing}?":
            return colour
        if last == f"What does {name} have?":
            return f"a {colour} {thing}"
    raise AssertionError(question)


def test_every_answer_is_right_and_a_larger_set_begins_with_the_smaller():
    drawn = list(instructions(2000, seed=3))
    assert {each.task for each in drawn} == set(TASKS)
    for each in drawn:
        assert each.answer == solved(each.question), each
    assert drawn[:50] == list(instructions(50, seed=3)) != list(instructions(50, seed=4))
    held = [each for each in drawn if each.held_out]
    assert 0.07 < len(held) / 2000 < 0.14
    assert not {each.question for each in held} & {each.question for each in drawn if not each.held_out}
    with pytest.raises(ValueError):
        next(instructions(0))


def test_only_what_the_assistant_says_is_a_target():
    talk = (Message("system", "Be short."), *exchange("né?", "ja"), *exchange("[|Assistant|]no", "so"))
    ids, said = encode(TOKENISER, talk)
    end = [TOKENISER.end]
    by_hand = [*end, *b"[|System|]Be short.", *end, *"[|User|]né?".encode(), *end, *b"[|Assistant|]ja", *end]
    by_hand += [*b"[|User|][|Assistant|]no", *end, *b"[|Assistant|]so", *end]
    assert ids.tolist() == by_hand
    assert ids[said].tolist() == [*b"ja", *end, *b"so", *end]
    tokens, targets = padded([(ids, said), encode(TOKENISER, exchange("a", "b"))], TOKENISER.end)
    assert tokens.shape == targets.shape == (2, len(ids) - 1)
    for row, column in (targets >= 0).nonzero().tolist():
        source = (ids, encode(TOKENISER, exchange("a", "b"))[0])[row]
        assert targets[row, column] == source[column + 1]
    assert (targets >= 0).sum(1).tolist() == [6, 2]
    assert asked(TOKENISER, talk[:2]).tolist() == ids[: len(asked(TOKENISER, talk[:2]))].tolist()


def test_byte_pairs_say_the_same_text():
    tokeniser = BytePairTokeniser.trained([each.question for each in instructions(200)], 300)
    ids, said = encode(tokeniser, exchange("What is 2 plus 3?", "five <|end|>"))
    assert tokeniser.decode(ids[said]) == "five <|end|>"
    assert int((ids == tokeniser.end).sum()) == 3  # before, between and after: no text spells an end


def small(seed: int = 0) -> LanguageModel:
    config = LanguageModelConfig(257, TransformerConfig(width=32, layers=2, heads=2))
    return LanguageModel(config, torch.Generator().manual_seed(seed))


def test_the_loss_is_the_mean_over_the_assistants_tokens():
    model = small().double().eval()
    talks = [encode(TOKENISER, exchange(*words)) for words in (("one", "a"), ("two or three", "bcd"), ("x", "yz"))]
    nats = []
    for ids, said in talks:
        known = model(torch.from_numpy(ids)[None])[0].log_softmax(-1).detach().numpy()
        nats += [-known[place - 1, ids[place]] for place in np.flatnonzero(said)]
    assert answer_loss(model, talks, TOKENISER.end, together=2) == pytest.approx(np.mean(nats), rel=1e-10)


def test_tokens_count_alike_in_all_parts_of_a_step():
    talks = [exchange("a", "x"), exchange("b", "yz" * 20), exchange("c", "x"), exchange("d", "q" * 30)]
    found = []
    for accumulation in (1, 2, 4):
        model = small().double()
        training = TrainingConfig(steps=3, batch=4, accumulation=accumulation, warm_up=0, rate=1e-2, log_every=1)
        result = tune(model, TOKENISER, talks, config=InstructionConfig(training=training), progress=False)
        found.append((result.loss, torch.cat([p.detach().flatten() for p in model.parameters()])))
    for loss, parameters in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(parameters, found[0][1], rtol=1e-4, atol=1e-5)


def test_a_model_learns_to_answer_and_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    # Answers that one position gives away, so that a few steps are enough.
    drawn = [Instruction("echo", f"say {letter} {number}", letter) for letter in "abcd" for number in range(10)]
    held, learnt = drawn[::7], [each for place, each in enumerate(drawn) if place % 7]
    training = TrainingConfig(steps=120, batch=16, rate=1e-2, warm_up=5, evaluate_every=60)
    config = InstructionConfig(context=64, training=training)
    talks = [each.conversation for each in learnt]
    measured = [each.conversation for each in held]
    model = small()
    assert accuracy(model, TOKENISER, held)["echo"] < 0.5
    tune(model, TOKENISER, talks, measured, config, run=RunFolder(tmp_path / "whole", config, 0), progress=False)
    right = accuracy(model, TOKENISER, held)
    assert right["all"] == right["echo"] == 1
    assert reply(model, TOKENISER, [Message("user", "say c 3")]) == "c"

    class Cut(Exception):
        pass

    calls, plain = 0, LanguageModel.loss

    def cut(*given, **settings):
        nonlocal calls
        calls += 1
        if calls > 90:
            raise Cut
        return plain(*given, **settings)

    monkeypatch.setattr(LanguageModel, "loss", cut)
    with pytest.raises(Cut):
        tune(small(), TOKENISER, talks, measured, config, run=RunFolder(tmp_path / "cut", config, 0), progress=False)
    monkeypatch.undo()
    again = small()
    tune(again, TOKENISER, talks, measured, config, run=RunFolder(tmp_path / "cut", config, 0), progress=False)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_what_cannot_be_learnt_is_refused(tmp_path):
    for wrong in ([], [(Message("user", "alone"),)], [exchange("long" * 30, "x")]):
        with pytest.raises(ValueError):
            tune(small(), TOKENISER, wrong, config=InstructionConfig(context=64), progress=False)
    talks = [*[exchange("short", "x")] * 3, exchange("a long one" * 9, "x")]
    with pytest.raises(ValueError, match="begins 'a long one"):
        tune(small(), TOKENISER, talks, config=InstructionConfig(context=64), progress=False)
    with pytest.raises(ValueError):
        tune(LanguageModel(LanguageModelConfig(100)), TOKENISER, [exchange("a", "b")], progress=False)
    with pytest.raises(ValueError):
        Message("robot", "no such role")
    file = tmp_path / "talks.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file.write_text(json.dumps({"messages": turns}) + "\n\n")
    assert read_conversations(file) == [exchange("a", "b")]
    no_text = [json.dumps({"messages": [turns[0], {**turns[1], "content": content}]}) for content in (None, 3, ["b"])]
    half = json.dumps({"messages": [turns[0], {**turns[1], "content": "\ud800"}]})
    for line in ("[", '{"messages": 3}', json.dumps({"messages": turns[:1]}), "[" * 100_000, half, *no_text):
        file.write_text("\n" + line)
        with pytest.raises(ValueError, match=re.escape(f"{file}, line 2: ")):
            read_conversations(file)
    file.write_bytes(
        json.dumps({"messages": [turns[0], {**turns[1], "content": "\xe9"}]}, ensure_ascii=False).encode("latin-1")
    )
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read_conversations(file)


def test_a_conversation_may_hold_any_character(tmp_path):
    said = "".join(map(chr, [*range(32), 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF, 0x1F600]))
    line = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said[::-1]}]}
    file = tmp_path / "talks.jsonl"
    for escaped in (True, False):
        file.write_text((json.dumps(line, ensure_ascii=escaped) + "\n") * 2, encoding="utf-8")
        assert read_conversations(file) == [exchange(said, said[::-1])] * 2


def test_the_commands_train_and_answer(tmp_path, capsys):
    small().save(tmp_path / "student")
    TOKENISER.save(tmp_path / "student")
    told = ["--count", "60", "--asked", "2", "--steps", "2", "--batch", "4", "--run", str(tmp_path / "chat")]
    assert main(["language", "instruct", str(tmp_path / "student"), *told]) == 0
    assert "right" in capsys.readouterr().out
    assert main(["language", "chat", str(tmp_path / "chat"), "What is 2 plus 2?", "--steps", "3"]) == 0
    talks = tmp_path / "talks.jsonl"
    line = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    talks.write_text("\n".join(json.dumps(line) for _ in range(12)))
    own = ["--source", str(talks), "--steps", "2", "--batch", "4", "--run", str(tmp_path / "own")]
    assert main(["language", "instruct", str(tmp_path / "student"), *own]) == 0
    assert (tmp_path / "own" / "model" / "tokenizer.json").is_file()
    assert main(["language", "instruct", str(tmp_path / "student"), *own]) == 0
    talks.write_text(talks.read_text().replace('"b"', '"c"'))  # as many, and in a file of the same name
    assert main(["language", "instruct", str(tmp_path / "student"), *own]) == 1
    assert "inputs.source" in capsys.readouterr().err
    assert main(["language", "instruct", str(tmp_path / "nowhere"), *told]) == 1
