"""Language models: losses against torch on full logits, generation against logits without a cache, files bit by bit."""

import json

import pytest
import torch

from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig, sample
from separable.sequence.embeddings import EMBEDDINGS, embedding_config
from separable.sequence.heads import HEADS, TableHeadConfig, head_config

BODY = TransformerConfig(width=16, layers=2, heads=2, dropout=0.1)


def build(seed=0, **changes):
    config = LanguageModelConfig(vocabulary=31, transformer=BODY, **changes)
    model = LanguageModel(config, torch.Generator().manual_seed(seed))
    with torch.no_grad():  # away from the start, so that distributions are not nearly uniform
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.ndim > 1 else 1.0)
    return model


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request):
    return build(head=TableHeadConfig(tied=request.param)).eval()


@pytest.fixture
def tokens():
    return torch.randint(31, (3, 10), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("chunk", [1, 7, None])
@pytest.mark.parametrize("prefix", [0, 3])
def test_loss_and_gradient_equal_those_of_full_logits(model, tokens, chunk, prefix):
    model = model.double()
    targets = tokens.roll(-1, 1)
    targets[0, 4:] = targets[2, 0] = -1
    logits = model(tokens, prefix=prefix)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    loss = model.loss(tokens, targets, prefix=prefix, ignore=-1, chunk=chunk)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    parameters = list(model.parameters())
    found, wanted = (torch.autograd.grad(2.5 * value, parameters) for value in (loss, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        silent = model.loss(tokens, targets, prefix=prefix, ignore=-1, chunk=chunk)
    torch.testing.assert_close(silent, expected, rtol=1e-12, atol=1e-12)


def test_loss_of_nothing_is_zero(model, tokens):
    loss = model.loss(tokens, torch.full_like(tokens, -100))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters())


@pytest.mark.parametrize("head", ["table", "hierarchical", "product_mixture", "adaptive"])
@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_no_tokens_have_no_logits_and_a_loss_of_zero(head, shape):
    model, tokens = build(head=head_config(head)), torch.zeros(shape, dtype=torch.long)
    assert model(tokens).shape == (*shape, 31)
    assert model.loss(tokens, tokens) == 0


def test_low_precision_is_near(model, tokens):
    expected = model.loss(tokens, tokens).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.loss(tokens, tokens)
    mixed.backward()
    assert mixed.item() == pytest.approx(expected, rel=0.03)
    assert model.bfloat16().loss(tokens, tokens).item() == pytest.approx(expected, rel=0.03)


def test_generation_equals_logits_without_a_cache(model, tokens):
    model = model.double()
    settings = {"temperature": 0.8, "top_k": 9, "top_p": 0.95}
    found = list(model.generate(tokens, 12, **settings, prefix=4, generator=torch.Generator().manual_seed(5)))
    generator, whole = torch.Generator().manual_seed(5), tokens
    for step in found:
        drawn = sample(model(whole, prefix=4)[:, -1], **settings, generator=generator)
        assert torch.equal(drawn, step)
        whole = torch.cat([whole, drawn[:, None]], 1)
    assert len(found) == 12
    assert len({tuple(step.tolist()) for step in found}) > 3


def test_logits_step_by_step_through_the_cache(model, tokens):
    model = model.double()
    cache = model.cache(3, 10)
    steps = [model(token, cache=cache) for token in tokens.split(1, 1)]
    torch.testing.assert_close(torch.cat(steps, 1), model(tokens), rtol=1e-10, atol=1e-12)


def test_generation_streams_and_leaves_modes_alone(tokens):
    model = build().train()
    model.embedding.eval()
    stream = model.generate(tokens, 1000)
    for _ in range(3):
        next(stream)
        assert torch.is_grad_enabled()
        assert model.training
        assert not model.embedding.training
    greedy = [list(model.generate(tokens, 5, temperature=0.0)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*greedy, strict=True))  # without dropout


def test_stop_ends_each_sequence_and_then_the_stream(model, tokens):
    free = torch.stack(list(model.generate(tokens, 30, temperature=0.0)), 1)
    stops = {int(free[0, 3]), int(free[1, 6]), int(free[2, 1])}
    ends = [next(i for i, token in enumerate(row.tolist()) if token in stops) for row in free]
    stopped = torch.stack(list(model.generate(tokens, 30, temperature=0.0, stop=stops)), 1)
    assert stopped.shape[1] == max(ends) + 1
    for row, whole, end in zip(stopped, free, ends, strict=True):
        assert torch.equal(row[: end + 1], whole[: end + 1])
        assert (row[end:] == whole[end]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"transformer": TransformerConfig(width=16, layers=2, heads=2, rotary_base=500_000)},
        {"embedding": embedding_config(kind="hashed", buckets=7, seed=20_240_601)},
    ],
    ids=["rotary base", "seed"],
)
def test_large_numbers_that_are_no_sizes_are_read_again(changes, tokens, tmp_path):
    config = LanguageModelConfig(vocabulary=31, **({"transformer": BODY} | changes))
    model = LanguageModel(config, torch.Generator().manual_seed(0)).eval()
    model.save(tmp_path)
    assert torch.equal(LanguageModel.load(tmp_path).eval()(tokens), model(tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_save_and_load_keep_every_bit(model, tokens, tmp_path, dtype):
    model = model.to(dtype)
    model.save(tmp_path)
    state = torch.get_rng_state()
    loaded = LanguageModel.load(tmp_path).eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert loaded.config == model.config
    for (name, value), (other, expected) in zip(loaded.named_parameters(), model.named_parameters(), strict=True):
        assert name == other
        assert value.dtype == dtype
        assert torch.equal(value, expected)
    assert torch.equal(loaded(tokens), model(tokens))
    tied = model.config.head.tied
    with torch.no_grad():
        loaded.embedding.weight.zero_()
    logits = loaded.head.logits(torch.ones(1, 16, dtype=dtype))
    assert bool((logits == 0).all()) == tied  # a tied head follows its embedding after loading too
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("embedding", [kind for kind in EMBEDDINGS if kind != "leviathan"])
@pytest.mark.parametrize("head", HEADS)
def test_every_embedding_with_every_head(embedding, head, tokens, tmp_path):
    sizes = {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4} if embedding == "generated" else {}
    own = {"rank": 8} if head == "low_rank" and embedding != "low_rank" else {}
    model = build(embedding=embedding_config(embedding, **sizes), head=head_config(head, **own)).eval()
    generator = torch.Generator().manual_seed(4)
    model.assign(torch.randint(50, (31,), generator=generator), torch.randperm(31, generator=generator))
    logits = model(tokens)
    torch.testing.assert_close(
        model.loss(tokens, tokens),
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
        rtol=1e-4,
        atol=1e-5,
    )
    model.loss(tokens, tokens).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.save(tmp_path)
    loaded = LanguageModel.load(tmp_path).eval()
    assert torch.equal(loaded(tokens), logits)
    greedy = [torch.stack(list(m.generate(tokens, 4, temperature=0.0)), 1) for m in (model, loaded)]
    assert torch.equal(*greedy)


def test_spoilt_files_are_told(model, tmp_path):
    with pytest.raises(FileNotFoundError):
        LanguageModel.load(tmp_path)
    model.save(tmp_path)
    whole, config = (tmp_path / "model.safetensors").read_bytes(), json.loads((tmp_path / "config.json").read_text())
    for spoilt in (whole[:-1], whole[:20], b""):
        (tmp_path / "model.safetensors").write_bytes(spoilt)
        with pytest.raises(ValueError):
            LanguageModel.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    wrong = [
        config | {"version": 99},
        config | {"kind": "Other"},
        config | {"vocabulary": 32},
        config | {"vocabulary": -1},
        config | {"head": {"kind": "no such"}},
        config | {"embedding": {"kind": "table", "no such": 1}},
        config | {"transformer": {"no such": 1}},
        {name: value for name, value in config.items() if name != "head"},
        [1],
    ]
    for content in wrong:
        (tmp_path / "config.json").write_text(json.dumps(content))
        with pytest.raises(ValueError):
            LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError):
        LanguageModel.load(tmp_path)


def test_inputs_are_checked(model, tokens):
    with pytest.raises(ValueError):
        model.assign(torch.ones(30))
    with pytest.raises(IndexError):
        model(tokens + 1 + 30 - tokens.max())
    with pytest.raises(IndexError):
        model(-tokens)
    with pytest.raises(TypeError):
        model(tokens.float())
    with pytest.raises(ValueError):
        model(tokens[0])
    with pytest.raises(ValueError):
        model.loss(tokens, tokens[:, 1:])
    with pytest.raises(IndexError):
        model.loss(tokens, torch.full_like(tokens, 31))
    with pytest.raises(ValueError):
        model.loss(tokens, tokens, chunk=0)
    for wrong in (
        {"steps": -1},
        {"steps": 1, "top_p": 0.0},
        {"steps": 1, "temperature": -0.1},
        {"steps": 1, "prefix": 11},
    ):
        with pytest.raises(ValueError):
            model.generate(tokens, **wrong)
    with pytest.raises(ValueError):
        model.generate(tokens[:, :0], 1)
    with pytest.raises(ValueError):
        model.generate(tokens[:0], 1)
