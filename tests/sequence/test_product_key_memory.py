"""The product-key memory against brute force over all keys."""

import numpy as np
import pytest
import torch

from separable.sequence.product_key_memory import ProductKeyMemory


@pytest.fixture
def memory():
    memory = ProductKeyMemory(6, half_keys=9, heads=3, best=4, key_width=8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        memory.query_norm.weight.normal_(generator=torch.Generator().manual_seed(1))
    return memory.double()


@pytest.fixture
def x():
    return torch.randn(5, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def brute_force(memory, x):
    """Scores of all keys ``(N, H, n n)`` and the output ``(N, width)``, position by position."""
    weight, gain, halves, values = (
        p.detach().numpy() for p in (memory.query_weight, memory.query_norm.weight, memory.half_keys, memory.values)
    )
    scores, outputs = [], []
    for position in x.reshape(-1, 6).numpy():
        output, of_heads = np.zeros(6), []
        for head in range(3):
            query = weight[8 * head : 8 * head + 8] @ position
            query = query / np.sqrt((query**2).mean() + 1e-5) * gain
            keys = [np.concatenate([a, b]) for a in halves[0, head] for b in halves[1, head]]
            score = np.array([query @ key for key in keys])
            best = np.argsort(-score)[:4]
            share = np.exp(score[best] - score[best].max())
            output += (share / share.sum()) @ values[best]
            of_heads.append(score)
        scores.append(of_heads)
        outputs.append(output)
    return np.array(scores), np.array(outputs)


def test_the_best_of_all_keys_are_found(memory, x):
    scores, outputs = brute_force(memory, x)
    found, indices = memory.best_keys(x.reshape(-1, 6))
    assert (indices.numpy() == np.argsort(-scores, -1)[..., :4]).all()
    np.testing.assert_allclose(found.detach().numpy(), -np.sort(-scores, -1)[..., :4], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(memory(x).detach().numpy().reshape(-1, 6), outputs, rtol=1e-10, atol=1e-12)
    assert len(set(indices.flatten().tolist())) > 20


def test_gradients_reach_everything(memory, x):
    # Which keys are best does not change within a step of the check.
    names = [name for name, _ in memory.named_parameters()]
    few = x[:1, :3].clone().requires_grad_()

    def evaluate(x, *values):
        return torch.func.functional_call(memory, dict(zip(names, values, strict=True)), (x,))

    inputs = (few, *(p.detach().requires_grad_() for p in memory.parameters()))
    assert torch.autograd.gradcheck(evaluate, inputs, fast_mode=True)


def test_one_key_and_all_keys():
    whole = ProductKeyMemory(4, half_keys=3, heads=1, best=3, generator=torch.Generator().manual_seed(3)).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    single = ProductKeyMemory(4, half_keys=1, heads=2, best=1).double()
    torch.testing.assert_close(single(x), 2 * single.values.expand(2, 4))
    assert whole(x).shape == (2, 4)
    assert whole(x[:0]).shape == (0, 4)


def test_bfloat16_and_other_shapes(memory):
    low = memory.bfloat16()
    assert low(torch.randn(2, 3, 4, 6, dtype=torch.bfloat16)).shape == (2, 3, 4, 6)
    assert low(torch.randn(6, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [{"width": 0}, {"half_keys": 3, "best": 4}, {"key_width": 5}, {"heads": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError):
        ProductKeyMemory(**{"width": 6, "half_keys": 8, "best": 4, **wrong})


def test_inputs_are_checked(memory, x):
    with pytest.raises(ValueError):
        memory(x[..., :5])
