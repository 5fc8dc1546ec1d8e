"""Students come at the size or of the config that was asked for."""

import json

import pytest
import torch

from domains.language.compare import parameters
from domains.language.distillation.importance import full_masks, importances
from domains.language.distillation.pruning import choose, parameters_after, prune
from domains.language.distillation.students import multiplied, prune_to, sized, student_config
from domains.language.train import LanguageConfig
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import GeneratedEmbeddingConfig


@pytest.fixture(scope="module")
def teacher() -> LanguageModel:
    embedding = GeneratedEmbeddingConfig(rank=16)
    config = LanguageModelConfig(60, TransformerConfig(width=32, layers=2, heads=4, hidden=64), embedding)
    return LanguageModel(config, torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def ranked(teacher):
    tokens = torch.randint(60, (4, 12), generator=torch.Generator().manual_seed(1))
    return importances(teacher, [(tokens[:, :-1], tokens[:, 1:])])


def test_parameters_are_counted_without_a_model(teacher, ranked):
    for sparsity in (0.0, 0.3, 0.7):
        assert parameters_after(teacher, ranked, sparsity) == prune(teacher, ranked, sparsity).n_parameters


def test_a_size_is_reached_by_single_neurons_the_least_important_first(teacher, ranked):
    sparsity = 1 - 0.8**2  # a whole percent of the axes
    at_sparsity = prune(teacher, ranked, sparsity)
    same = prune_to(teacher, ranked, at_sparsity.n_parameters)
    assert same.config == at_sparsity.config
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), at_sparsity.parameters(), strict=True))
    kept = choose(teacher, ranked, sparsity)
    each = 3 * len(kept.hidden)
    fewer = prune_to(teacher, ranked, at_sparsity.n_parameters - 5 * each)
    assert fewer.n_parameters == at_sparsity.n_parameters - 5 * each
    held = [(float(ranked.neurons[layer, n]), layer) for layer in range(2) for n in kept.neurons[layer].tolist()]
    lost = [layer for _, layer in sorted(held)[:5]]
    now = [block.perceptron.readout.in_features for block in fewer.transformer.blocks]
    assert now == [len(kept.neurons[layer]) - lost.count(layer) for layer in range(2)]
    for wanted in (36_000, 41_234):
        student = prune_to(teacher, ranked, wanted)
        assert abs(student.n_parameters - wanted) <= 1.5 * student.config.transformer.width
    for wanted in (teacher.n_parameters, 9_000):  # no fewer; and fewer than the generator of the embedding has
        with pytest.raises(ValueError):
            prune_to(teacher, full_masks(teacher), wanted)


@pytest.mark.parametrize("wanted", [9_000, 30_000, 123_456])
def test_a_config_of_a_size(wanted):
    base = LanguageConfig(TransformerConfig(width=32, layers=2, heads=4), "table", "table:tied=true")
    config = sized(base, 100, wanted)
    assert config.transformer.head_width == 8
    # A neuron of both layers is 2 x 3 numbers of the width.
    assert abs(parameters(config, 100) - wanted) <= 3 * config.transformer.width
    with pytest.raises(ValueError):
        sized(base, 100, 500)


@pytest.mark.parametrize("key_heads", [1, 2])
def test_a_config_of_a_size_keeps_its_key_heads(key_heads):
    transformer = TransformerConfig(width=32, layers=2, heads=4, key_heads=key_heads)
    config = sized(LanguageConfig(transformer, "table", "table:tied=true"), 100, 30_000)
    sizes = config.transformer
    assert (sizes.head_width, sizes.key_heads, sizes.heads % key_heads) == (8, key_heads, 0)
    attention = 2 * sizes.width**2 + 2 * sizes.width * 8 * key_heads  # queries and readout, keys and values
    layer = attention + 3 * sizes.width * sizes.hidden_width + 2 * sizes.width
    assert parameters(config, 100) == 2 * layer + 101 * sizes.width
    assert abs(parameters(config, 100) - 30_000) <= 3 * sizes.width


def test_numbers_that_a_token_is_multiplied_with():
    config = LanguageModelConfig(50, TransformerConfig(width=16, layers=1, heads=2, hidden=24))
    layer = 16 * 16 * 4 + 3 * 16 * 24 + 3 * 16  # attention, perceptron, norms
    assert multiplied(LanguageModel(config)) == layer + 50 * 16


def test_a_students_config_from_wherever_it_lies(tmp_path):
    told = {"transformer": {"width": 16, "layers": 1, "heads": 2}, "embedding": "generated:rank=4", "head": "table"}
    config = student_config(json.dumps(told), 70)
    assert (config.vocabulary, config.transformer.width, config.embedding.rank) == (70, 16, 4)
    (tmp_path / "student.json").write_text(json.dumps(told))
    assert student_config(str(tmp_path / "student.json"), 70) == config
    LanguageModel(config).save(tmp_path / "run" / "model")
    assert student_config(str(tmp_path / "run"), 70) == student_config(str(tmp_path / "run" / "model"), 70) == config
    wrongs = ("{", '{"width": 3}', '{"transformer": {"depth": 3}}', '{"embedding": "no_such"}', '{"vocabulary": 71}')
    for wrong in wrongs:
        with pytest.raises(ValueError):
            student_config(wrong, 70)
    for sizes in ("null", "3", '"layer_hidden"', "[]"):
        with pytest.raises(ValueError, match="transformer"):
            student_config(f'{{"transformer": {sizes}}}', 70)
    with pytest.raises(FileNotFoundError):
        student_config(str(tmp_path / "nowhere"), 70)
    with pytest.raises(ValueError, match="pruned"):
        student_config('{"transformer": {"width": 16, "layer_hidden": [3, 4]}}', 70)
