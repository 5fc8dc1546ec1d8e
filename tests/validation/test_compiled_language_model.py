"""A language model compiled by torch's inductor: the same loss and gradients, where there is a C++ compiler."""

import shutil

import pytest
import torch

from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

pytestmark = [
    pytest.mark.validation,
    pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="inductor needs a C++ compiler"),
    pytest.mark.filterwarnings("default"),  # of the compiler
]
KINDS = [
    ("generated", {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4, "frequent": 3}, "hierarchical", {"rank": 8}),
    ("table", {}, "table", {"tied": True}),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[2]}")
def test_compiled_loss_and_gradients_are_those_of_plain_code(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    embedding, sizes, head, settings = kind
    config = LanguageModelConfig(
        64,
        TransformerConfig(width=32, layers=1, heads=2),
        embedding_config(embedding, **sizes),
        head_config(head, **settings),
    )
    generator = torch.Generator().manual_seed(0)
    model = LanguageModel(config, generator).double()
    tokens = torch.randint(64, (2, 17), generator=generator)
    parameters = list(model.parameters())
    plain = model.loss(tokens[:, :-1], tokens[:, 1:])
    compiled = torch.compile(model.loss, backend="inductor")(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(compiled, plain, rtol=1e-10, atol=1e-12)
    for found, expected in zip(
        torch.autograd.grad(compiled, parameters), torch.autograd.grad(plain, parameters), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # something was compiled
