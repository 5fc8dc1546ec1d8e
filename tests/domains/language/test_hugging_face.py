"""Language models through transformers: the same logits, the same files, the same sequences."""

import copy
import json

import pytest
import torch

pytest.importorskip("transformers", reason="the extra huggingface")

from transformers import AutoModelForCausalLM, AutoTokenizer

from domains.language.distillation.pruned_model import PrunedTransformerConfig, build
from domains.language.hugging_face import SeparableForCausalLM, export
from domains.language.tokenisers import ByteTokeniser
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

KINDS = [
    ("table", {}, "table", {"tied": True}),
    ("table", {}, "table", {"tied": False}),
    ("generated", {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4, "frequent": 3}, "hierarchical", {"rank": 8}),
    ("leviathan", {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4}, "table", {"tied": True}),
    ("hashed", {"buckets": 9}, "product_mixture", {"rank": 2}),
    ("low_rank", {"rank": 4}, "low_rank", {}),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[2]}")
def model(request):
    embedding, sizes, head, settings = request.param
    config = LanguageModelConfig(
        29,
        TransformerConfig(width=16, layers=2, heads=2),
        embedding_config(embedding, **sizes),
        head_config(head, **settings),
    )
    model = LanguageModel(config, torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(1)
    model.assign(torch.randint(9, (29,), generator=generator), torch.randperm(29, generator=generator))
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.mul_(4.0)
    return model


@pytest.mark.parametrize("parts", [1, 4])
def test_a_trainer_takes_the_mean_over_the_parts_of_a_step(parts, tmp_path):
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    config = LanguageModelConfig(29, TransformerConfig(width=16, layers=1, heads=2))
    rows = torch.randint(29, (8, 9), generator=torch.Generator().manual_seed(3))
    ours = LanguageModel(config, torch.Generator().manual_seed(0))
    wrapped = SeparableForCausalLM.of(copy.deepcopy(ours))
    settings = TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=8 // parts,
        gradient_accumulation_steps=parts,
        max_steps=1,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
    )
    Trainer(wrapped, settings, train_dataset=[{"input_ids": row, "labels": row} for row in rows]).train()
    ours.loss(rows[:, :-1], rows[:, 1:]).backward()
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), wrapped.language_model.parameters(), strict=True):
            torch.testing.assert_close(theirs, mine - 0.1 * mine.grad, rtol=1e-4, atol=1e-6)


@pytest.fixture
def tokens():
    return torch.randint(29, (3, 8), generator=torch.Generator().manual_seed(2))


def test_a_saved_model_opens_and_goes_back(model, tokens, tmp_path):
    model.save(tmp_path / "ours")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert isinstance(opened, SeparableForCausalLM)
    assert not opened.training
    for name, value in model.state_dict().items():
        assert torch.equal(opened.state_dict()[name], value)
    with torch.no_grad():
        torch.testing.assert_close(opened(tokens).logits, model(tokens))
    opened.save_pretrained(tmp_path / "theirs")
    for path in (tmp_path / "theirs", tmp_path / "ours"):
        again = AutoModelForCausalLM.from_pretrained(path)
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    back = LanguageModel.load(tmp_path / "theirs").eval()
    assert back.config == model.config
    with torch.no_grad():
        torch.testing.assert_close(back(tokens), model(tokens))


def test_generate(model, tokens):
    wrapped = SeparableForCausalLM.of(model)
    mask = torch.ones_like(tokens)
    found = wrapped.generate(tokens, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
    expected = torch.stack(list(model.generate(tokens, 6, temperature=0.0)), 1)
    assert torch.equal(found[:, 8:], expected)


def test_loss_and_padding(model, tokens):
    wrapped = SeparableForCausalLM.of(model)
    alone = wrapped(tokens[:1, 3:]).logits
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    torch.testing.assert_close(wrapped(tokens, attention_mask=mask).logits[:1, 3:], alone, rtol=1e-4, atol=1e-5)
    mask[1, 5:] = 0
    both = wrapped(tokens, attention_mask=mask).logits
    torch.testing.assert_close(both[1:2, :5], wrapped(tokens[1:2, :5]).logits, rtol=1e-4, atol=1e-5)
    mask[2, 4] = 0
    with pytest.raises(ValueError):
        wrapped(tokens, attention_mask=mask)
    loss = wrapped(tokens, labels=tokens).loss
    torch.testing.assert_close(loss, model.loss(tokens[:, :-1], tokens[:, 1:]), rtol=1e-4, atol=1e-5)


def test_parameters_are_shared_and_sizes_are_fixed(model, tokens):
    wrapped = SeparableForCausalLM.of(model)
    with torch.no_grad():
        model.transformer.norm.weight.mul_(-1)
    torch.testing.assert_close(wrapped(tokens).logits, model(tokens))
    assert wrapped.num_parameters() == model.n_parameters
    twin = copy.deepcopy(wrapped)
    with torch.no_grad():
        twin.transformer.norm.weight.zero_()
    assert (wrapped(tokens).logits - twin(tokens).logits).abs().max() > 1e-4
    with pytest.raises(NotImplementedError):
        wrapped.resize_token_embeddings(30)


@pytest.mark.parametrize(
    "settings",
    [
        {"context": 48},  # of a training in Python
        {"tokens": "", "made_from": {}, "config": {"context": 48}},  # of `separable language train`
        {"teacher": "runs/language", "config": {"context": 48}},  # of `separable language distil`
        {"cell": {}, "teacher": {"context": 48}, "student": None},  # of `separable language capacity-gap`
    ],
)
def test_texts_are_as_long_as_windows_of_the_training_whoever_made_the_run(settings, tmp_path):
    LanguageModel(LanguageModelConfig(257, TransformerConfig(width=16, layers=1, heads=2))).save(tmp_path / "model")
    ByteTokeniser().save(tmp_path / "model")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert AutoTokenizer.from_pretrained(export(tmp_path, tmp_path / "exported")).model_max_length == 48


def test_a_model_whose_layers_differ_is_refused_for_what_it_is(tmp_path):
    sizes = PrunedTransformerConfig(
        24, 2, heads=3, key_heads=3, hidden=40, features=16, layer_key_heads=(3, 1), layer_hidden=(0, 40)
    )
    build(LanguageModelConfig(257, sizes)).save(tmp_path / "model")
    ByteTokeniser().save(tmp_path / "model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="pruned"):
        export(tmp_path, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
