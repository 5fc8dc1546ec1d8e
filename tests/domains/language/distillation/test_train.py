"""A student is pruned, distilled, resumed and written, from Python and from the command line."""

import dataclasses
from pathlib import Path

import pytest
import torch

import domains.language.distillation.train as module
from domains.command_line import main
from domains.language.corpus import CorpusConfig
from domains.language.distillation.pruned_model import load
from domains.language.distillation.pruning import prune
from domains.language.distillation.train import DistillationConfig, calibrated, distil
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


def test_a_pruned_student_learns_what_pruning_lost_and_resumes(tokens, teacher, tmp_path, monkeypatch):
    model, _ = teacher
    ranked = calibrated(model, tokens, CONFIG)
    students = [prune(model, ranked, 0.6) for _ in range(2)]
    before = mean_loss(students[0], tokens.part("validation"), 16)
    held = [parameter.clone() for parameter in model.parameters()]
    result = distil(students[0], model, tokens, CONFIG, run=RunFolder(tmp_path / "whole", CONFIG, 0), progress=False)
    assert result.scores["validation_loss"] < before - 0.1
    assert all(torch.equal(a, b) for a, b in zip(held, model.parameters(), strict=True))
    back = load(tmp_path / "whole" / "model")
    assert mean_loss(back, tokens.part("validation"), 16) == mean_loss(students[0], tokens.part("validation"), 16)

    class Cut(Exception):
        pass

    calls, plain = 0, module.distillation_loss

    def cut(*args, **settings):
        nonlocal calls
        calls += 1
        if calls > 20:
            raise Cut
        return plain(*args, **settings)

    monkeypatch.setattr(module, "distillation_loss", cut)
    with pytest.raises(Cut):
        distil(students[1], model, tokens, CONFIG, run=RunFolder(tmp_path / "cut", CONFIG, 0), progress=False)
    monkeypatch.undo()
    again = prune(model, ranked, 0.6)
    distil(again, model, tokens, CONFIG, run=RunFolder(tmp_path / "cut", CONFIG, 0), progress=False)
    mine, wanted = again.state_dict(), students[0].state_dict()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_the_command_leaves_a_student(tokens, teacher, tmp_path):
    model, run = teacher
    told = ["--context", "16", "--calibration", "2", "--steps", "2", "--batch", "4", "--sparsity", "0.5"]
    given = ["language", "distillation", "distil", str(tokens.folder), "--teacher", str(run), "--run"]
    assert main([*given, str(tmp_path / "student"), *told]) == 0
    student = load(tmp_path / "student" / "model")
    assert 0.3 * model.n_parameters < student.n_parameters < 0.8 * model.n_parameters
    assert (tmp_path / "student" / "model" / "tokenizer.json").is_file()
    assert main([*given, str(tmp_path / "other"), *told[:-1], "1.5"]) == 1  # no share of anything
    assert not Path(tmp_path / "other" / "model").exists()


def test_wrong_settings_are_refused():
    for wrong in ({"divergence": "taid"}, {"share": 2.0}, {"temperature": 0.0}, {"context": 0}):
        with pytest.raises(ValueError):
            DistillationConfig(**wrong)
