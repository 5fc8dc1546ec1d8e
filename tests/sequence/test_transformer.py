"""The transformer against explicit formulas in float64, its cache against one pass."""

import math

import pytest
import torch

from separable.sequence import Transformer, TransformerConfig
from separable.sequence.gated_perceptron import GatedPerceptron
from separable.sequence.normalisation import RootMeanSquareNorm
from separable.sequence.rotary import rotary_angles, rotate, rotated_heads

SMALL = TransformerConfig(width=24, layers=2, heads=6, key_heads=2, hidden=20, rotary_base=100.0)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def transformer():
    model = Transformer(SMALL, drawn()).double()
    with torch.no_grad():  # away from the start, so that gains matter and attention is not nearly uniform
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.4, generator=drawn(parameter.numel()))
    return model


@pytest.fixture
def x():
    return torch.randn(2, 9, 24, dtype=torch.float64, generator=drawn(1))


def norm(v, gain, epsilon):
    return [gain[i] * v[i] / math.sqrt(sum(a * a for a in v) / len(v) + epsilon) for i in range(len(v))]


def matvec(matrix, v):
    return [sum(m * a for m, a in zip(row, v, strict=True)) for row in matrix]


def turned(v, place, base):
    """Each pair (p, p + h / 2) as a complex number times a power of i."""
    half = len(v) // 2
    out = [0.0] * len(v)
    for p in range(half):
        z = complex(v[p], v[p + half]) * complex(
            math.cos(place * base ** (-2 * p / len(v))), math.sin(place * base ** (-2 * p / len(v)))
        )
        out[p], out[p + half] = z.real, z.imag
    return out


def explicit(model, sequence, prefix):
    """One sequence, number by number."""
    config = model.config
    h, heads, keys = config.head_width, config.heads, config.key_heads or config.heads
    stream = [list(map(float, v)) for v in sequence]
    for block in model.blocks:
        p = {name: value.detach().tolist() for name, value in block.named_parameters()}
        normed = [norm(v, p["attention_norm.weight"], config.epsilon) for v in stream]
        mixed = [matvec(p["attention.projection.weight"], v) for v in normed]
        for t in range(len(stream)):
            joined = []
            for head in range(heads):
                shared = head // (heads // keys)
                query = turned(mixed[t][head * h : (head + 1) * h], t, config.rotary_base)
                scores, values = [], []
                for s in range(len(stream)):
                    if s <= t or s < prefix:
                        k = mixed[s][(heads + shared) * h : (heads + shared + 1) * h]
                        k = turned(k, s, config.rotary_base)
                        scores.append(math.exp(sum(a * b for a, b in zip(query, k, strict=True)) / math.sqrt(h)))
                        values.append(mixed[s][(heads + keys + shared) * h : (heads + keys + shared + 1) * h])
                total = sum(scores)
                joined += [sum(w * v[i] for w, v in zip(scores, values, strict=True)) / total for i in range(h)]
            stream[t] = [a + b for a, b in zip(stream[t], matvec(p["attention.readout.weight"], joined), strict=True)]
        hidden = config.hidden_width
        for t, v in enumerate(stream):
            both = matvec(p["perceptron.expansion.weight"], norm(v, p["perceptron_norm.weight"], config.epsilon))
            gated = [a / (1 + math.exp(-a)) * b for a, b in zip(both[:hidden], both[hidden:], strict=True)]
            stream[t] = [a + b for a, b in zip(v, matvec(p["perceptron.readout.weight"], gated), strict=True)]
    gain = model.norm.weight.tolist()
    return torch.tensor([norm(v, gain, config.epsilon) for v in stream], dtype=torch.float64)


@pytest.mark.parametrize("prefix", [0, 1, 4, 9])
def test_formula(transformer, x, prefix):
    expected = torch.stack([explicit(transformer, sequence, prefix) for sequence in x])
    torch.testing.assert_close(transformer(x, prefix=prefix), expected, rtol=1e-9, atol=1e-11)
    if prefix > 1:
        assert (transformer(x) - expected).abs().max() > 1e-3


def test_a_prefix_for_each_sequence(transformer, x):
    both = transformer(x, prefix=torch.tensor([2, 7]))
    torch.testing.assert_close(both[:1], transformer(x[:1], prefix=2), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(both[1:], transformer(x[1:], prefix=7), rtol=1e-10, atol=1e-12)


def test_rotary_products_know_distances_alone():
    query, key = torch.randn(2, 8, dtype=torch.float64, generator=drawn())

    def product(t, s):
        turned_query = rotate(query[None], rotary_angles(t, 1, 8, 50.0, dtype=torch.float64))
        return float((turned_query * rotate(key[None], rotary_angles(s, 1, 8, 50.0, dtype=torch.float64))).sum())

    assert product(5, 3) == pytest.approx(product(1005, 1003), abs=1e-9)
    assert product(5, 3) == pytest.approx(product(2, 0), abs=1e-12)
    assert abs(product(5, 3) - product(5, 2)) > 1e-3


def test_rotary_angles_in_bfloat16_tell_far_neighbours_apart():
    cosine, _ = rotary_angles(10_000, 2, 4, 10000.0, dtype=torch.bfloat16)
    assert cosine.dtype == torch.bfloat16
    assert cosine[0, 0] != cosine[1, 0]
    assert float(cosine[1, 0]) == pytest.approx(math.cos(10_001), abs=4e-3)


@pytest.mark.parametrize("pieces", [(1,) * 9, (4, 5), (3, 1, 5), (9,)])
def test_pieces_through_the_cache_equal_one_pass(transformer, x, pieces):
    cache = transformer.cache(2, 9)
    outputs = [transformer(piece, cache=cache) for piece in x.split(pieces, 1)]
    torch.testing.assert_close(torch.cat(outputs, 1), transformer(x), rtol=1e-10, atol=1e-12)
    assert cache.room == 0


@pytest.mark.parametrize("prefix", [4, torch.tensor([4, 2])])
def test_a_prefix_goes_through_the_cache(transformer, x, prefix):
    cache = transformer.cache(2, 20)
    begun = transformer(x[:, :6], prefix=prefix, cache=cache)
    following = [transformer(x[:, t : t + 1], prefix=prefix, cache=cache) for t in (6, 7, 8)]
    expected = transformer(x, prefix=prefix)
    torch.testing.assert_close(torch.cat([begun, *following], 1), expected, rtol=1e-10, atol=1e-12)


def test_a_truncated_cache_goes_on_from_there(transformer, x):
    cache = transformer.cache(2, 9)
    transformer(x, cache=cache)
    cache.truncate(5)
    expected = transformer(torch.cat([x[:, :5], -x[:, 5:]], 1))[:, 5:]
    torch.testing.assert_close(transformer(-x[:, 5:], cache=cache), expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError):
        cache.truncate(10)


def test_what_does_not_fit_the_cache_is_refused_and_leaves_it_as_it_was(transformer, x):
    cache = transformer.cache(2, 8)
    for wrong in (x, x[:1, :3]):
        with pytest.raises(ValueError):
            transformer(wrong, cache=cache)
    transformer(x[:, :5], cache=cache)
    with pytest.raises(ValueError):  # a prefix that begins in the cache and ends beyond it
        transformer(x[:, 5:7], prefix=6, cache=cache)
    assert cache.length == 5
    assert not transformer(x[:, 5:6], cache=cache).requires_grad


def test_gradients(transformer):
    x = torch.randn(1, 4, 24, dtype=torch.float64, generator=drawn(3), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: transformer(v, prefix=torch.tensor([2]))[..., :3], (x,))
    transformer(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in transformer.parameters())


@pytest.mark.parametrize("shape", [(2, 5, 12), (12,)])
def test_norm_against_torch(shape):
    norm, torchs = RootMeanSquareNorm(12, 1e-3).double(), torch.nn.RMSNorm(12, 1e-3).double()
    x = torch.randn(shape, dtype=torch.float64, generator=drawn(), requires_grad=True)
    with torch.no_grad():
        torchs.weight.copy_(norm.weight.normal_(generator=drawn(1)))
    torch.testing.assert_close(norm(x), torchs(x), rtol=1e-12, atol=1e-13)
    slope = torch.randn(shape, dtype=torch.float64, generator=drawn(2))
    found, expected = (torch.autograd.grad(n(x), [x, n.weight], slope) for n in (norm, torchs))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = torch.autograd.grad(norm.float()(x.float()), norm.weight, slope.float())[0]
    torch.testing.assert_close(within.double(), expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(24,), (0, 24), (2, 5000, 24)])
def test_gated_perceptron_against_its_formula(shape):
    perceptron = GatedPerceptron(24, 40).double()
    x = torch.randn(shape, dtype=torch.float64, generator=drawn(), requires_grad=True)
    gate, value = (x @ weight.T for weight in perceptron.expansion.weight.chunk(2))
    expected = (gate / (1 + torch.exp(-gate)) * value) @ perceptron.readout.weight.T
    found = perceptron(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    slope = torch.randn(shape, dtype=torch.float64, generator=drawn(1))
    wanted = [x, *perceptron.parameters()]
    for one, other in zip(*(torch.autograd.grad(y, wanted, slope) for y in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_rotation_is_a_product_of_complex_numbers():
    x = torch.randn(3, 2, 5, 8, dtype=torch.float64, generator=drawn(), requires_grad=True)
    cosine, sine = rotary_angles(2, 5, 8, 50.0, dtype=torch.float64)
    turned = torch.complex(*x.chunk(2, -1)) * torch.complex(cosine, sine)
    expected = torch.cat([turned.real, turned.imag], -1)
    found = rotate(x, (cosine, sine))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("batch", [0, 3])
def test_heads_are_cut_from_a_projection_and_queries_and_keys_turned(batch):
    projected = torch.randn(batch, 5, 4 + 2 + 2, 8, dtype=torch.float64, generator=drawn(), requires_grad=True)
    cosine, sine = rotary_angles(2, 5, 8, 50.0, dtype=torch.float64)
    query, key, value = (projected[:, :, heads].transpose(1, 2) for heads in (slice(4), slice(4, 6), slice(6, 8)))
    turned = [torch.complex(*x.chunk(2, -1)) * torch.complex(cosine, sine) for x in (query, key)]
    expected = [*(torch.cat([x.real, x.imag], -1) for x in turned), value]
    found = rotated_heads(projected, (cosine, sine), 4, 2)
    slopes = [torch.randn(x.shape, dtype=torch.float64, generator=drawn(1)) for x in expected]
    torch.testing.assert_close(list(found), expected, rtol=1e-13, atol=1e-14)
    one, other = (torch.autograd.grad(y, projected, slopes)[0] for y in (found, expected))
    torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)


def test_start_values():
    model = Transformer(TransformerConfig(width=256, layers=8), drawn(2))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            expected = 0.02 / 4 if "readout" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=5 * (2 * parameter.numel()) ** -0.5)
    again = Transformer(TransformerConfig(width=256, layers=8), drawn(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_parameter_count():
    model = Transformer(SMALL)
    assert model.n_parameters == 2 * (24 * (6 + 4) * 4 + 24 * 24 + 3 * 24 * 20 + 2 * 24) + 24
    assert TransformerConfig(width=128).hidden_width == 344  # 341.3 rounded up to a multiple of 8
    assert TransformerConfig(width=96).hidden_width == 256


def test_bfloat16_is_near_and_dropout_is_off_in_evaluation():
    model = Transformer(TransformerConfig(width=32, layers=2, heads=2, dropout=0.3), drawn())
    x = torch.randn(2, 6, 32, generator=drawn(1))
    assert not torch.equal(model(x), model(x))
    model.eval()
    expected = model(x)
    torch.testing.assert_close(model(x), expected)
    low = model.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert (low.float() - expected).abs().max() < 0.06


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 20, "heads": 3},
        {"width": 12, "heads": 4},
        {"heads": 4, "key_heads": 3},
        {"layers": 0},
        {"hidden": 0},
        {"dropout": 1.0},
        {"epsilon": 0.0},
        {"rotary_base": 1.0},
    ],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError):
        TransformerConfig(**wrong)


def test_inputs_are_checked(transformer, x):
    for wrong in (x[0], x[..., :-1]):
        with pytest.raises(ValueError):
            transformer(wrong)
    for prefix in (-1, 10, torch.tensor([1, 10]), torch.tensor([1]), torch.tensor([1.0, 2.0])):
        with pytest.raises(ValueError):
            transformer(x, prefix=prefix)
