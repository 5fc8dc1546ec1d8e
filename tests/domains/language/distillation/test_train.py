"""A student is pruned, distilled, resumed and written, from Python and from the command line."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from domains.command_line import main
from domains.language.corpus import CorpusConfig
from domains.language.distillation.adaptation import adapt
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.lesson import Lesson
from domains.language.distillation.logits_cache import LogitsCache, LogitsCacheConfig, write_logits
from domains.language.distillation.pruned_model import load
from domains.language.distillation.pruning import prune
from domains.language.distillation.train import calibrated, distil
from domains.language.evaluate import mean_loss
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig

CONFIG = DistillationConfig(
    context=16,
    validation_windows=8,
    calibration=4,
    training=TrainingConfig(steps=30, batch=8, rate=5e-3, warm_up=4, evaluate_every=15),
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Tokens:
    folder = tmp_path_factory.mktemp("text")
    (folder / "text").mkdir()
    words = ["red", "green", "blue", "white"]
    for i in range(60):  # numbered, as copies fall into the same part
        text = " ".join(words[(i * j + j * j) % 4] for j in range(60))
        (folder / "text" / f"{i:02d}.txt").write_text(f"{i}: {text}")
    corpus = CorpusConfig(str(folder / "text"), validation=0.15, test=0.0)
    return Tokens(write_tokens(folder / "tokens", TokenizeConfig(corpus), progress=False))


@pytest.fixture(scope="module")
def teacher(tokens, tmp_path_factory):
    config = LanguageConfig(
        TransformerConfig(width=32, layers=2, heads=4),
        embedding="table",
        context=16,
        validation_windows=8,
        training=dataclasses.replace(CONFIG.training, steps=80, rate=2e-2, evaluate_every=40),
    )
    run = RunFolder(tmp_path_factory.mktemp("teacher"), config, 0)
    model, _ = train(tokens, config, run=run, samples=False, progress=False)
    return model.eval(), run.path


WAYS = {
    "published": {},
    "taid_and_states": {"divergence": "taid", "hidden": 0.3},
    "kept": {"divergence": "reverse_kl"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pruned_student_learns_what_pruning_lost_and_resumes(way, tokens, teacher, tmp_path, monkeypatch):
    model, _ = teacher
    config = dataclasses.replace(CONFIG, **WAYS[way])
    ranked = calibrated(model, tokens, config)
    students = [prune(model, ranked, 0.6) for _ in range(3)]
    before = mean_loss(students[0], tokens.part("validation"), 16)
    held = [parameter.clone() for parameter in model.parameters()]
    source = model
    if way == "kept":
        kept = LogitsCacheConfig(entries=200, context=16, shard=50)
        source = LogitsCache(write_logits(tmp_path / "logits", model, tokens, kept), tokens)
    whole = RunFolder(tmp_path / "whole", config, 0)
    result = distil(students[0], source, tokens, config, run=whole, progress=False)
    assert result.scores["validation_loss"] < before - 0.1
    assert all(torch.equal(a, b) for a, b in zip(held, model.parameters(), strict=True))
    back = load(tmp_path / "whole" / "model")
    assert mean_loss(back, tokens.part("validation"), 16) == mean_loss(students[0], tokens.part("validation"), 16)

    class Cut(Exception):
        pass

    calls, plain = 0, Lesson.forward

    def cut(*given):
        nonlocal calls
        calls += 1
        if calls > 20:
            raise Cut
        return plain(*given)

    monkeypatch.setattr(Lesson, "forward", cut)
    with pytest.raises(Cut):
        distil(students[1], source, tokens, config, run=RunFolder(tmp_path / "cut", config, 0), progress=False)
    monkeypatch.undo()
    distil(students[2], source, tokens, config, run=RunFolder(tmp_path / "cut", config, 0), progress=False)
    mine, wanted = students[2].state_dict(), students[0].state_dict()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_kept_logits_of_another_kind_are_refused(tokens, teacher, tmp_path):
    model, _ = teacher
    kinds = {kind: LogitsCacheConfig(kind, 4, context=16, shard=50) for kind in ("top_k", "sampled")}
    kept = {k: LogitsCache(write_logits(tmp_path / k, model, tokens, config), tokens) for k, config in kinds.items()}
    asked = [
        ("top_k", {"temperature": 2.0}),
        ("top_k", {"context": 8}),
        ("top_k", {"hidden": 1.0}),
        ("sampled", {"divergence": "reverse_kl"}),
    ]
    for kind, wrong in asked:
        with pytest.raises(ValueError):
            distil(model, kept[kind], tokens, dataclasses.replace(CONFIG, **wrong), progress=False)


def test_a_teacher_is_adapted_to_the_text(tokens, teacher, tmp_path):
    _, run = teacher
    model = load(run / "model")
    before = mean_loss(model, tokens.part("validation"), 16)
    config = dataclasses.replace(CONFIG, adapt_steps=20, adapt_rate=3e-3)
    adapt(model, tokens, config, run=RunFolder(tmp_path / "teacher", config, 0), progress=False)
    after = mean_loss(model, tokens.part("validation"), 16)
    assert after < before
    assert mean_loss(load(tmp_path / "teacher" / "model"), tokens.part("validation"), 16) == after


def test_the_command_leaves_a_student(tokens, teacher, tmp_path):
    model, run = teacher
    told = ["--context", "16", "--calibration", "2", "--steps", "2", "--batch", "4"]

    def given(name: str) -> list[str]:
        return ["language", "distil", str(tokens.folder), "--teacher", str(run), "--run", str(tmp_path / name), *told]

    assert main([*given("pruned"), "--sparsity", "0.5", "--adapt-steps", "2"]) == 0
    student = load(tmp_path / "pruned" / "model")
    assert 0.3 * model.n_parameters < student.n_parameters < 0.8 * model.n_parameters
    assert (tmp_path / "pruned" / "model" / "tokenizer.json").is_file()
    assert main(["language", "sample", str(tmp_path / "pruned"), "--beginning", "red", "--steps", "3"]) == 0
    measured = ["language", "evaluate", str(tmp_path / "pruned"), str(tokens.folder), "--part", "validation"]
    assert main([*measured, "--context", "16"]) == 0
    adapted = load(tmp_path / "pruned" / "teacher" / "model")
    assert adapted.config == model.config
    assert not torch.equal(adapted.head.weight, model.head.weight)
    config = '{"transformer": {"width": 16, "layers": 1, "heads": 1}, "embedding": "generated:rank=4"}'
    kept = ["--cache", str(tmp_path / "logits"), "--entries", "8"]
    assert main([*given("scratch"), "--student", config, *kept]) == 0
    assert main([*given("again"), "--student", config, *kept[:2]]) == 0  # from the same logits
    for other in (["--entries", "9"], ["--drawn"], ["--entries", "8", "--drawn"]):
        assert main([*given("other"), "--student", config, *kept[:2], *other]) == 1
    assert not (tmp_path / "other").exists()
    assert load(tmp_path / "scratch" / "model").config.embedding.rank == 4
    assert main([*given("copy"), "--student", str(tmp_path / "scratch")]) == 0
    assert load(tmp_path / "copy" / "model").config == load(tmp_path / "scratch" / "model").config
    for wrong in (["--sparsity", "1.5"], ["--sparsity", "0.5", "--student", config], ["--student", "nowhere"]):
        assert main([*given("other"), *wrong]) == 1
    assert not Path(tmp_path / "other" / "model").exists()


def test_a_run_goes_on_with_its_own_corpus_only(tokens, teacher, tmp_path, capsys):
    _, run = teacher
    (tmp_path / "text").mkdir()
    for file in (tokens.folder.parent / "text").iterdir():  # other words
        (tmp_path / "text" / file.name).write_text(file.read_text().translate(str.maketrans("rb", "br")))
    corpus = CorpusConfig(str(tmp_path / "text"), validation=0.15, test=0.0)
    config = TokenizeConfig(corpus)
    other = Tokens(write_tokens(tmp_path / "tokens", config, tokens.tokeniser, progress=False))
    assert other.digest == tokens.digest

    def told(corpus: Tokens, name: str) -> list[str]:
        words = ["--teacher", str(run), "--run", str(tmp_path / name), "--context", "16", "--calibration", "1"]
        return ["language", "distil", str(corpus.folder), *words, "--steps", "1", "--batch", "2"]

    assert main(told(tokens, "run")) == 0
    assert main(told(tokens, "run")) == 0
    assert main(told(other, "run")) == 1
    assert "other settings" in capsys.readouterr().err
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    del settings["corpus"]  # as an older release wrote it
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    assert main(told(tokens, "run")) == 0


def test_a_run_goes_on_with_its_own_teacher_only(tokens, teacher, tmp_path, capsys):
    first, _ = teacher
    changed = copy.deepcopy(first)
    with torch.no_grad():
        next(changed.parameters()).add_(1e-3)
    words = ["--teacher", str(tmp_path / "teacher"), "--run", str(tmp_path / "run"), "--context", "16"]
    command = ["language", "distil", str(tokens.folder), *words, "--calibration", "1", "--steps", "1", "--batch", "2"]
    for model, status in ((first, 0), (first, 0), (changed, 1)):
        model.save(tmp_path / "teacher")
        tokens.tokeniser.save(tmp_path / "teacher")
        assert main(command) == status
    assert "inputs.teacher" in capsys.readouterr().err


def test_a_run_goes_on_with_the_lesson_that_it_was_begun_with_only(tokens, teacher, tmp_path, capsys):
    _, run = teacher
    words = ["--teacher", str(run), "--run", str(tmp_path / "run"), "--cache", str(tmp_path / "kept")]
    words += ["--context", "16", "--calibration", "1", "--steps", "1", "--batch", "2"]
    command = ["language", "distil", str(tokens.folder), *words]
    drawn = ["--drawn", "--entries", "4"]
    assert main([*command, *drawn]) == 0
    shutil.rmtree(tmp_path / "kept")
    for other in ([], ["--drawn"]):
        assert main([*command, *other]) == 1
        assert "kept" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()
    assert main([*command, *drawn]) == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings.pop("kept") == LogitsCache(tmp_path / "kept", tokens).config.__dict__
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))  # as an older release wrote it
    assert main(command) == 0


def test_wrong_settings_are_refused():
    wrongs = ({"divergence": "taid"}, {"share": 2.0}, {"temperature": 0.0}, {"context": 0}, {"hidden": -1.0})
    for wrong in wrongs:  # taid without a number of steps
        with pytest.raises(ValueError):
            DistillationConfig(**wrong)
