"""Layers that are planned on the meta device, given memory afterwards, and filled by `reset_parameters` or a file."""

import pytest
import torch

from separable.layers import Khronos, LeviathanEmbedding, SeparableEmbedding, SeparableLinear, Span
from separable.sequence.embeddings import HashedEmbedding

MAKERS = {
    "khronos": (lambda: Khronos(3, 1, 5, 3), torch.rand(4, 3)),
    "span": (lambda: Span(3, 2, coordinates=3), torch.rand(4, 3)),
    "leviathan": (lambda: LeviathanEmbedding(50, 8, digits=2, seed_dim=4, heads=2, rank=3), torch.arange(50)),
    "linear": (lambda: SeparableLinear(16, 16, rank=2), torch.rand(4, 16)),
    "embedding": (lambda: SeparableEmbedding(50, 8, rank=2), torch.arange(50)),
    "hashed": (lambda: HashedEmbedding(50, 8, buckets=10, seed=3), torch.arange(50)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_memory_that_held_something_else_leaves_no_trace(kind):
    make, inputs = MAKERS[kind]
    torch.manual_seed(0)
    made = make()
    with torch.device("meta"):
        planned = make()
    planned = planned.to_empty(device="cpu")
    with torch.no_grad():
        for held in (*planned.parameters(), *planned.buffers()):
            held.fill_(7)
    for module in [planned] if hasattr(planned, "reset_parameters") else planned.children():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    planned.load_state_dict(made.state_dict())
    assert torch.equal(planned(inputs), made(inputs))
