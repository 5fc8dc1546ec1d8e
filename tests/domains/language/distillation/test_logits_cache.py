"""A teacher's stored distributions are those it has, belong to their tokens, and teach as the teacher does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.language.corpus import CorpusConfig
from domains.language.distillation.logits_cache import LogitsCache, LogitsCacheConfig, cached_loss, write_logits
from domains.language.distillation.losses import distillation_loss
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig

CONFIG = LogitsCacheConfig(entries=6, context=8, shard=5, together=3)


def written(folder: Path, words: str) -> Tokens:
    (folder / "text").mkdir(parents=True)
    for number in range(12):
        (folder / "text" / f"{number}.txt").write_text(f"{number} {words} {number * number}\n")
    corpus = CorpusConfig(str(folder / "text"), validation=0.0, test=0.0)
    return Tokens(write_tokens(folder / "tokens", TokenizeConfig(corpus), progress=False))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Tokens:
    return written(tmp_path_factory.mktemp("one"), "red green")


def model(seed: int, vocabulary: int = 257) -> LanguageModel:
    config = LanguageModelConfig(vocabulary, TransformerConfig(width=16, layers=1, heads=2))
    made = LanguageModel(config, torch.Generator().manual_seed(seed)).double().eval()
    with torch.no_grad():
        made.embedding.weight.mul_(20)  # distributions that are not all alike
    return made


def test_the_most_probable_tokens_and_the_rest_are_kept(tokens, tmp_path):
    teacher = model(0)
    cache = LogitsCache(write_logits(tmp_path, teacher, tokens, CONFIG), tokens)
    length = len(tokens.part("train"))
    assert cache.windows == (length - 1) // 8 > 10  # several shards
    assert cache.bytes_per_token == 6 * 2 + 7 * 2
    inputs, targets, ids, values = cache.load(np.array([7, 0, cache.windows - 1]))
    held = tokens.part("train").read(0, length)
    assert inputs[0].tolist() == held[56:64].tolist()
    assert targets[2].tolist() == held[8 * cache.windows - 7 : 8 * cache.windows + 1].tolist()
    probabilities = teacher(inputs).softmax(-1).detach().numpy()
    order = np.argsort(-probabilities, -1)[..., :6]
    np.testing.assert_array_equal(ids, order)
    most = np.take_along_axis(probabilities, order, -1)
    wanted = np.concatenate([most, 1 - most.sum(-1, keepdims=True)], -1)
    np.testing.assert_allclose(values.exp(), wanted, rtol=2e-2)  # float16 logarithms
    np.testing.assert_allclose(values.exp().sum(-1), 1, rtol=1e-6)


def test_the_loss_with_a_bucket_is_that_of_the_coarser_distributions(tokens, tmp_path):
    teacher, student = model(0), model(1)
    cache = LogitsCache(write_logits(tmp_path, teacher, tokens, CONFIG), tokens)
    batch = cache.load(np.arange(4))
    inputs, targets, ids, values = batch
    found = cached_loss(student, batch, share=0.4, chunk=5)
    q = torch.nn.functional.softmax(student(inputs), -1).detach().numpy()
    p, near = values.double().exp().numpy(), np.take_along_axis(q, ids.numpy(), -1)
    coarse = np.concatenate([near, 1 - near.sum(-1, keepdims=True)], -1)
    kl = (p * np.log(p / coarse)).sum(-1).mean()
    entropy = -np.log(np.take_along_axis(q, targets.numpy()[..., None], -1)).mean()
    assert float(found.detach()) == pytest.approx(0.6 * entropy + 0.4 * kl, rel=1e-9)
    whole = distillation_loss(student, teacher, inputs, targets, share=1.0)
    assert float(cached_loss(student, batch, share=1.0).detach()) < float(whole.detach())


def test_with_all_tokens_but_one_the_teacher_might_as_well_be_there(tokens, tmp_path):
    teacher, student = model(0), model(1)
    config = LogitsCacheConfig(entries=256, context=8)
    batch = LogitsCache(write_logits(tmp_path, teacher, tokens, config), tokens).load(np.arange(6))
    held = list(student.parameters())
    found, wanted = cached_loss(student, batch), distillation_loss(student, teacher, *batch[:2])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)
    for mine, right in zip(torch.autograd.grad(found, held), torch.autograd.grad(wanted, held), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-2, atol=1e-3 * float(right.abs().max()))


def test_sampled_ids_teach_without_bias(tokens, tmp_path):
    teacher, student = model(0), model(1)
    config = LogitsCacheConfig("sampled", 2000, context=8, seed=3)
    cache = LogitsCache(write_logits(tmp_path, teacher, tokens, config), tokens)
    batch = cache.load(np.arange(cache.windows))
    log_q = student(batch[0]).log_softmax(-1).detach()
    p = teacher(batch[0]).softmax(-1).detach()
    mean = (p * -log_q).sum(-1)
    spread = ((p * log_q**2).sum(-1) - mean**2).mean().sqrt() / (2000 * mean.numel()) ** 0.5
    found = float(cached_loss(student, batch, share=1.0).detach())
    assert abs(found - float(mean.mean())) < 4 * float(spread)


@pytest.mark.parametrize("kind", ["top_k", "sampled"])
def test_writing_goes_on_where_it_was_cut_off_to_the_same_bytes(tokens, tmp_path, kind, monkeypatch):
    config = LogitsCacheConfig(kind, 6, context=8, shard=5, together=3)
    teacher = model(0)
    write_logits(tmp_path / "whole", teacher, tokens, config)
    calls, forward = 0, LanguageModel.forward

    def cut(self, *args, **settings):
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        return forward(self, *args, **settings)

    monkeypatch.setattr(LanguageModel, "forward", cut)
    with pytest.raises(KeyboardInterrupt):
        write_logits(tmp_path / "cut", teacher, tokens, config)
    monkeypatch.undo()
    with pytest.raises(ValueError):
        LogitsCache(tmp_path / "cut", tokens)
    write_logits(tmp_path / "cut", teacher, tokens, config)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "cut").iterdir())
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes() for name in names)


def test_a_cache_of_something_else_is_refused(tokens, tmp_path):
    teacher = model(0)
    folder = write_logits(tmp_path / "cache", teacher, tokens, CONFIG)
    other = written(tmp_path / "other", "blue black")
    with pytest.raises(ValueError, match="corpus") as told:
        LogitsCache(folder, other)
    assert "damaged" not in str(told.value)
    with pytest.raises(ValueError, match="teacher"):
        write_logits(folder, model(1), tokens, CONFIG)
    with pytest.raises(ValueError, match="config"):
        write_logits(folder, teacher, tokens, LogitsCacheConfig(entries=5, context=8))
    for name, value in (("tokeniser", "another"), ("vocabulary", 300)):
        index = json.loads((folder / "index.json").read_text())
        index["made_from"][name] = value
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError):
            LogitsCache(tmp_path / name, tokens)
    file = next(folder.glob("*.ids.bin"))
    file.write_bytes(file.read_bytes()[:-2] + b"ab")
    with pytest.raises(ValueError, match="checksum"):
        LogitsCache(folder, tokens)
    with pytest.raises(FileNotFoundError):
        LogitsCache(tmp_path / "none", tokens)
    with pytest.raises(ValueError):
        write_logits(tmp_path / "more", teacher, tokens, LogitsCacheConfig(entries=257, context=8))
    with pytest.raises(ValueError):
        write_logits(tmp_path / "long", teacher, tokens, LogitsCacheConfig(context=10**6))


def test_modules_keep_their_modes(tokens, tmp_path, monkeypatch):
    teacher = model(0).train()
    teacher.transformer.blocks[0].eval()
    before = [module.training for module in teacher.modules()]
    write_logits(tmp_path / "kept", teacher, tokens, CONFIG)
    assert [module.training for module in teacher.modules()] == before
    monkeypatch.setattr(Path, "write_bytes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_logits(tmp_path / "cut", teacher, tokens, CONFIG)
    assert [module.training for module in teacher.modules()] == before


def test_several_processes_share_what_one_has_written(tokens, tmp_path, monkeypatch):
    teacher = model(0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process"):
        write_logits(tmp_path, teacher, tokens, CONFIG)
    monkeypatch.delenv("WORLD_SIZE")
    write_logits(tmp_path, teacher, tokens, CONFIG)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert write_logits(tmp_path, teacher, tokens, CONFIG) == tmp_path
