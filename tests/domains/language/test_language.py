"""A model is trained, resumed, measured, sampled and compared, from Python and from the command line."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.command_line import main
from domains.language.compare import compare, equalised, parameters
from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate, token_losses
from domains.language.generate import continued
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, build, described, evenly, train
from separable.sequence import LanguageModel, TransformerConfig
from separable.training import RunFolder, TrainingConfig

CONFIG = LanguageConfig(
    TransformerConfig(width=16, layers=1, heads=2),
    embedding="table",
    context=16,
    validation_windows=8,
    training=TrainingConfig(steps=40, batch=8, rate=2e-2, warm_up=4, evaluate_every=20),
)
GENERATED = "generated:seed_dim=8,heads=1,knots=4,rank=4"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Tokens:
    folder = tmp_path_factory.mktemp("text")
    words = ["red", "green", "blue", "über"]
    for i in range(60):
        text = " ".join(words[(i * j + j * j) % 4] for j in range(60))
        (folder / f"{i:02d}.txt").write_text(f"{i}: {text}\n", encoding="utf-8")
    corpus = CorpusConfig(str(folder), validation=0.15, test=0.15)
    return Tokens(write_tokens(folder / "tokens", TokenizeConfig(corpus, vocabulary=280), progress=False))


def test_a_training_learns_resumes_and_keeps_its_model(tokens: Tokens, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", CONFIG, 0)
    model, result = train(tokens, CONFIG, run=run, progress=False)
    assert result.scores["validation_loss"] < 0.6 * math.log(280)
    whole = [line["loss"] for line in run.metrics() if "loss" in line]

    class Cut(Exception):
        pass

    def cut(self, tokens, targets):
        nonlocal calls
        calls += 1
        if calls > 27:
            raise Cut
        return loss(self, tokens, targets)

    other, calls, loss = RunFolder(tmp_path / "other", CONFIG, 0), 0, LanguageModel.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "loss", cut)
        with pytest.raises(Cut):
            train(tokens, CONFIG, run=other, progress=False)
    again, _ = train(tokens, CONFIG, run=other, progress=False)
    assert [line["loss"] for line in other.metrics() if "loss" in line] == whole

    loaded = LanguageModel.load(run.path / "model")
    for one, two, three in zip(model.parameters(), again.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    assert load_tokeniser(run.path / "model").digest == tokens.digest
    assert "Samples" in (run.path / "report.html").read_text()


def test_all_models_see_the_same_batches(tokens: Tokens, monkeypatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    loss = LanguageModel.loss

    def noted(self, inputs, targets):
        seen.setdefault(self.config.embedding.kind, []).append(inputs.clone())
        return loss(self, inputs, targets)

    monkeypatch.setattr(LanguageModel, "loss", noted)
    short = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, steps=6))
    for embedding in ("table", GENERATED):
        train(tokens, dataclasses.replace(short, embedding=embedding), progress=False)
    for one, two in zip(*seen.values(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("embedding", "tied"), [("table", "true"), (GENERATED, "false")])
def test_half_precision_trains_as_well(tokens: Tokens, embedding: str, tied: str) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        training = dataclasses.replace(CONFIG.training, steps=20, precision=precision)
        config = dataclasses.replace(CONFIG, embedding=embedding, head=f"table:tied={tied}", training=training)
        found.append(train(tokens, config, progress=False)[1].scores["validation_loss"])
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_a_measure_follows_the_last_step(tokens: Tokens) -> None:
    # Fused steps of the optimiser change parameters without counting it; vectors that were kept must go all the same.
    config = dataclasses.replace(CONFIG, embedding=GENERATED, validation_windows=0)
    model, result = train(tokens, config, progress=False)
    part = tokens.part("validation")
    again = build(tokens, config)
    again.load_state_dict(model.state_dict())
    assert result.scores["validation_loss"] == pytest.approx(float(token_losses(again, part, 16)[0].mean()), rel=1e-5)


def test_measures_are_those_of_the_logits(tokens: Tokens) -> None:
    torch.manual_seed(0)
    model = build(tokens, dataclasses.replace(CONFIG, embedding=GENERATED)).double()
    scores = evaluate(model, tokens, "test", context=16)
    part = tokens.part("test")
    everything = part.read(0, len(part))
    ranks = np.argsort(np.argsort(-tokens.counts(), kind="stable"))
    total, count, size = 0.0, 0, 0
    by_band: dict[str, list[float]] = {}
    for start in range(0, len(part) - 16, 16):
        window = torch.from_numpy(everything[start : start + 17])
        with torch.no_grad():
            logits = model(window[None, :-1])[0]
        for row, target in zip(logits, window[1:].tolist(), strict=True):
            nats = float(torch.logsumexp(row, 0) - row[target])
            total, count, size = total + nats, count + 1, size + len(tokens.tokeniser.token_bytes(target))
            rank = int(ranks[target])
            band = "0-9" if rank < 10 else "10-99" if rank < 100 else "100-279"
            by_band.setdefault(band, []).append(nats)
    assert scores.tokens == count
    assert scores.nats_per_token == pytest.approx(total / count, rel=1e-10)
    assert scores.bits_per_byte == pytest.approx(total / math.log(2) / size, rel=1e-10)
    for band in scores.bands:
        assert band["targets"] == len(by_band[band["ranks"]])
        assert band["nats"] == pytest.approx(np.mean(by_band[band["ranks"]]), rel=1e-10)
    assert sum(band["targets"] for band in scores.bands) == count
    some = token_losses(model, part, 16, evenly(len(part), 16, 3))[0]
    assert len(some) == 48


def test_a_measure_leaves_every_module_in_its_mode(tokens: Tokens) -> None:
    config = dataclasses.replace(CONFIG, transformer=TransformerConfig(width=16, layers=2, heads=2, dropout=0.5))
    model = build(tokens, config).train()
    model.transformer.blocks[0].eval()
    before = [module.training for module in model.modules()]
    assert evaluate(model, tokens, context=16) == evaluate(model, tokens, context=16)  # nothing is dropped
    assert [module.training for module in model.modules()] == before
    with pytest.raises(IndexError):
        evaluate(model, tokens, context=16, windows=np.array([10**9]))
    assert [module.training for module in model.modules()] == before


def test_what_does_not_fit_is_refused(tokens: Tokens) -> None:
    small = LanguageModel(CONFIG.model(100))
    with pytest.raises(ValueError):
        evaluate(small, tokens)
    with pytest.raises(ValueError):
        next(continued(small, tokens.tokeniser))
    with pytest.raises(ValueError):
        evaluate(build(tokens, CONFIG), tokens, "test", context=10**6)
    with pytest.raises(ValueError):
        train(tokens, dataclasses.replace(CONFIG, context=10**6), progress=False)
    for fields in ({"embedding": "tabel"}, {"head": "table:tied"}, {"embedding": "table:ranks=3"}, {"context": 0}):
        with pytest.raises(ValueError):
            LanguageConfig(**fields)
    assert described("table:tied=false")["tied"] is False


def test_text_is_written_on_and_ends(tokens: Tokens) -> None:
    model = build(tokens, CONFIG)
    pieces = list(continued(model, tokens.tokeniser, "12: red ü", steps=20, seed=1, stop=False))
    assert pieces == list(continued(model, tokens.tokeniser, "12: red ü", steps=20, seed=1, stop=False))
    assert pieces != list(continued(model, tokens.tokeniser, "12: red ü", steps=20, seed=2, stop=False))
    with torch.no_grad():  # now the end is what follows everything
        model.head.weight.zero_()
        model.transformer.norm.weight.zero_()
    assert "".join(continued(model, tokens.tokeniser, "red", steps=50, temperature=0)) == ""


def test_kinds_are_compared_at_equal_parameters_and_once(tokens: Tokens, tmp_path: Path, monkeypatch) -> None:
    kinds = ("table table:tied=false", f"{GENERATED} table:tied=false", "low_rank:rank=4 table:tied=true")
    config = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, steps=3))
    wanted = parameters(config, 280)
    for spend, step in (("perceptron", 3 * 16), ("layers", parameters_of_a_layer(config))):
        for kind in kinds[1:]:
            embedding, head = kind.split()
            cell = equalised(dataclasses.replace(config, embedding=embedding, head=head), 280, wanted, spend)
            built = sum(parameter.numel() for parameter in LanguageModel(cell.model(280)).parameters())
            assert abs(built - wanted) <= step / 2
    with pytest.raises(ValueError):
        equalised(config, 280, 1000, "perceptron")
    rows = compare(tokens, tmp_path, config, kinds, seeds=2, progress=False)
    assert [(row["kind"], row["seed"]) for row in rows] == [(kind, seed) for seed in (0, 1) for kind in kinds]
    assert max(row["parameters"] for row in rows) - min(row["parameters"] for row in rows) <= 3 * 16
    monkeypatch.setattr("domains.language.compare.train", lambda *_, **__: pytest.fail("trained again"))
    assert compare(tokens, tmp_path, config, kinds, seeds=2, progress=False) == rows
    assert "bits" in (tmp_path / "report.html").read_text()
    other = TokenizeConfig(CorpusConfig(str(tokens.folder.parent), validation=0.3, test=0.15), vocabulary=280)
    with pytest.raises(FileExistsError):  # what was measured on some tokens says nothing of others
        compare(Tokens(write_tokens(tmp_path / "tokens", other, progress=False)), tmp_path, config, kinds)
    for nothing in ({"kinds": ()}, {"seeds": 0}):
        with pytest.raises(ValueError, match="kinds, seeds"):
            compare(tokens, tmp_path, config, **nothing)


@pytest.mark.parametrize("key_heads", [None, 2])
def test_saved_parameters_go_to_as_many_heads_as_fit(key_heads) -> None:
    transformer = TransformerConfig(width=16, layers=2, heads=4, key_heads=key_heads)
    config = LanguageConfig(transformer, "table", "table:tied=false", 16)
    wanted = parameters(config, 2000)

    def of(head: str, width: int) -> int:
        sizes = dataclasses.replace(transformer, width=width, heads=width // 4)
        return parameters(dataclasses.replace(config, transformer=sizes, head=head), 2000)

    tied = equalised(dataclasses.replace(config, head="table:tied=true"), 2000, wanted, "width")
    assert tied.transformer.width // tied.transformer.heads == 4  # heads are of the size that they were
    step, found = 4 * (key_heads or 1), tied.transformer.width
    assert found > 16
    assert of("table:tied=true", found) <= wanted < of("table:tied=true", found + step)
    assert abs(parameters(tied, 2000) - wanted) <= 3 * 2 * found / 2
    same = equalised(config, 2000, wanted, "width")
    assert (same.transformer.width, parameters(same, 2000)) == (16, wanted)
    with pytest.raises(ValueError):
        equalised(config, 2000, 1000, "width")


def parameters_of_a_layer(config: LanguageConfig) -> int:
    two = dataclasses.replace(config, transformer=dataclasses.replace(config.transformer, layers=2))
    return parameters(two, 280) - parameters(config, 280)


def test_a_run_does_not_go_on_with_another_text(tokens: Tokens, tmp_path: Path, capsys) -> None:
    """Tokeniser and settings are the same, and so is the name of the folder."""
    source, folder = tmp_path / "text.txt", tmp_path / "tokens"
    given = [str(folder), "--run", str(tmp_path / "run"), "--width", "16", "--layers", "1", "--heads", "2"]
    given += ["--context", "16", "--steps", "1", "--batch", "2"]
    compared = ["--folder", str(tmp_path / "all"), "--kinds", "table table", *given[3:]]
    for text, status in (("one\n", 0), ("two\n", 1)):
        source.write_text(text * 400)
        assert main(["language", "tokenize", str(folder), "--source", str(source), "--test", "0.2"]) == 0
        assert main(["language", "train", *given]) == status
        assert main(["language", "compare-embeddings", str(folder), *compared]) == status
        shutil.rmtree(folder)
    assert capsys.readouterr().err.count("inputs.corpus") == 2


def test_a_part_without_a_window_is_told_before_a_training(tmp_path: Path, monkeypatch) -> None:
    source = tmp_path / "text.txt"
    source.write_text("words and words\n" * 100)
    corpus = CorpusConfig(str(source), validation=0, test=0)
    held = Tokens(write_tokens(tmp_path / "tokens", TokenizeConfig(corpus), progress=False))
    monkeypatch.setattr("domains.language.compare.train", None)
    with pytest.raises(ValueError, match="a window and its target"):
        compare(held, tmp_path / "all", CONFIG, ["table table"], progress=False)


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    readme = Path(__file__).parents[3] / "domains" / "language" / "README.md"
    for block in re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_commands_do_all_of_it(tokens: Tokens, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(tokens.folder.parent)
    sizes = ["--width", "16", "--layers", "1", "--heads", "2", "--context", "16"]
    length = ["--steps", "5", "--batch", "4"]
    shares = ["--validation", "0.2", "--test", "0.2"]

    def run(*words: str) -> str:
        status = main(["language", *words])
        told = capsys.readouterr()
        assert status == 0, told.err
        return told.out

    assert re.search(r"train +\d+ documents", run("tokenize", "tokens", "--source", source, *shares))
    assert "validation_loss" in run("train", "tokens", "--run", "run", "--embedding", "table", *sizes, *length)
    assert "validation_loss" in run("train", "tokens", "--run", "run", "--embedding", "table", *sizes, *length)
    of_the_run = run("evaluate", "run", "tokens")
    assert of_the_run == run("evaluate", "run", "tokens", "--context", "16")
    assert of_the_run == run("evaluate", "run/model", "tokens")  # which `separable info run` names
    assert "windows of 8" in run("evaluate", "run", "tokens", "--context", "8")
    assert run("sample", "run", "--beginning", "red", "--steps", "5").startswith("red")
    drawn = ["--beginning", "red", "--temperature", "0"]
    assert run("sample", "run", *drawn) == run("sample", "run", *drawn, "--steps", "16")
    kinds = ["--kinds", "table table:tied=true", f"{GENERATED} table:tied=false"]
    assert run("compare-embeddings", "tokens", "--folder", "all", *kinds, *sizes, *length).count("bits a byte") == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["context"] == 16

    assert main(["language", "train", "nowhere"]) == 1
    assert main(["language", "evaluate", "run", str(tokens.folder)]) == 1  # of another tokeniser
    assert main(["language", "train", "tokens", "--run", "run", *sizes, *length, "--seed", "3"]) == 1
    assert main(["language"]) == 2
