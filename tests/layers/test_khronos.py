"""Khronos and Span against few-line numpy evaluations of the published formula."""

import numpy as np
import pytest
import torch

from separable.layers.khronos import Khronos
from separable.layers.span import Span


def published(x, weights, scale, readout, bias):
    """Section by section, in loops: one sample, one coordinate, one mode, one kernel at a time."""
    n_coordinates, n_grid, rank = weights.shape
    outputs = []
    for sample in x:
        modes = []
        for r in range(rank):
            negative, logarithm = 0, 0.0
            for j in range(n_coordinates):
                p = 0.0
                for g in range(n_grid):
                    u = abs(sample[j] - g / (n_grid - 1)) * scale[j]
                    if u < 0.5:
                        p += (0.75 - u**2) * weights[j, g, r]
                    elif u < 1.5:
                        p += 0.5 * (1.5 - u) ** 2 * weights[j, g, r]
                negative += p < 0
                logarithm += np.log(abs(p) + 1e-9)
            modes.append((1 - 2 * (negative % 2)) * np.exp(logarithm))
        outputs.append(readout @ np.array(modes) + bias)
    return np.array(outputs)


def arrays(layer):
    values = (layer.weights, layer.scale, layer.readout.weight, layer.readout.bias)
    return [v.detach().numpy() for v in values]


@pytest.fixture
def layer():
    generator = torch.Generator().manual_seed(0)
    layer = Khronos(3, 2, grid_points=6, rank=5, generator=generator, dtype=torch.float64)
    with torch.no_grad():  # away from the start: factors of both signs, widths of their own, a bias
        layer.weights.normal_(generator=generator)
        layer.scale.mul_(torch.tensor([0.7, 1.0, 1.6], dtype=torch.float64))
        layer.readout.bias.normal_(generator=generator)
    return layer


def test_formula_inside_the_unit_cube(layer):
    x = np.random.default_rng(1).random((40, 3))
    x[0], x[1] = 0.0, 1.0
    expected = published(x, *arrays(layer))
    assert (np.sign(expected) < 0).any()
    for outside in ("constant", "error", "published"):
        layer.outside = outside
        np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_outside_the_unit_cube(layer):
    x = np.array([[0.5, 1.9, -0.8], [0.2, 0.3, 1.05]])
    given = torch.from_numpy(x)
    layer.outside = "published"
    np.testing.assert_allclose(layer(given).detach().numpy(), published(x, *arrays(layer)), rtol=1e-10, atol=1e-12)
    layer.outside = "constant"
    clamped = published(x.clip(0, 1), *arrays(layer))
    np.testing.assert_allclose(layer(given).detach().numpy(), clamped, rtol=1e-10, atol=1e-12)
    layer.outside = "error"
    with pytest.raises(ValueError):
        layer(given)
    with pytest.raises(ValueError):
        layer(torch.full((1, 3), float("nan"), dtype=torch.float64))


def test_squash_is_a_plain_sigmoid(layer):
    z = 2 * np.random.default_rng(2).standard_normal((10, 3))
    layer.squash = "sigmoid"
    expected = published(1 / (1 + np.exp(-z)), *arrays(layer))
    np.testing.assert_allclose(layer(torch.from_numpy(z)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_gradients(layer):
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    weights, scale = layer.weights.detach().requires_grad_(), layer.scale.detach().requires_grad_()

    def modes(x, weights, scale):
        return torch.func.functional_call(layer, {"weights": weights, "scale": scale}, (x,))

    assert torch.autograd.gradcheck(modes, (x, weights, scale))


def test_a_factor_that_is_exactly_zero_leaves_gradients_finite(layer):
    with torch.no_grad():
        layer.weights[1] = 0.0
    layer(torch.rand(4, 3, dtype=torch.float64)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_start_values():
    layer = Khronos(20, 50, grid_points=30, rank=40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = layer.weights.detach()
    assert abs(weights.mean() - 1) < 5 * 0.1 / weights.numel() ** 0.5
    assert abs(weights.std() - 0.1) < 5 * 0.1 / (2 * weights.numel()) ** 0.5
    assert (layer.scale == 29).all()
    assert (layer.readout.bias == 0).all()
    readout = layer.readout.weight.detach()
    assert abs(readout.var() * 40 - 1) < 0.1
    assert readout.abs().max() < 2 * readout.std() / 0.8  # cut at two deviations of the normal before the cut


@pytest.mark.parametrize(
    ("coordinates", "outputs", "rank", "published_total"), [(10, 10, 10, 21_410), (32, 1, 32, 63_265)]
)
def test_parameter_counts_of_the_published_image_models(coordinates, outputs, rank, published_total):
    encoder = (9 * 1 * 16 + 16) + (9 * 16 * 32 + 32) + (7 * 7 * 32 * coordinates + coordinates)
    head = Khronos(coordinates, outputs, grid_points=8, rank=rank, squash="sigmoid")
    assert encoder + sum(p.numel() for p in head.parameters()) == published_total


def test_half_precision_does_not_lose_the_offset_of_the_logarithm():
    layer = Khronos(2, 1, grid_points=4, rank=3, dtype=torch.bfloat16)
    with torch.no_grad():
        layer.weights.zero_()
    layer(torch.rand(5, 2, dtype=torch.bfloat16)).sum().backward()
    assert torch.isfinite(layer.weights.grad).all()


@pytest.mark.parametrize("arguments", [(0, 1, 4, 2), (2, 0, 4, 2), (2, 1, 1, 2), (2, 1, 4, 0)])
def test_sizes_are_checked(arguments):
    with pytest.raises(ValueError):
        Khronos(*arguments)


def test_inputs_are_checked(layer):
    with pytest.raises(ValueError):
        layer(torch.rand(4, 2, dtype=torch.float64))
    with pytest.raises(TypeError):
        layer(torch.rand(4, 3))
    with pytest.raises(ValueError):
        Khronos(2, 1, 4, 2, squash="relu")
    with pytest.raises(ValueError):
        Khronos(2, 1, 4, 2, outside="zero")


@pytest.mark.parametrize("squash", ["sigmoid", "tanh"])
def test_span_is_linear_squash_khronos_linear(squash):
    generator = torch.Generator().manual_seed(5)
    span = Span(4, 2, coordinates=3, grid_points=5, rank=6, squash=squash, generator=generator, dtype=torch.float64)
    x = np.random.default_rng(6).standard_normal((7, 4))
    z = x @ span.coordinates.weight.detach().numpy().T + span.coordinates.bias.detach().numpy()
    t = 1 / (1 + np.exp(-z)) if squash == "sigmoid" else (np.tanh(z) + 1) / 2
    expected = published(t, *arrays(span.khronos))
    np.testing.assert_allclose(span(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_span_is_reproducible_and_checks_its_inputs():
    first, second = (Span(4, 2, coordinates=3, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    x = torch.randn(3, 4)
    assert torch.equal(first(x), second(x))
    with pytest.raises(ValueError):
        first(torch.randn(3, 5))
    with pytest.raises(ValueError):
        Span(4, 2, coordinates=3, squash="none")


@pytest.mark.parametrize(
    "kind", [lambda g: Khronos(3, 2, 4, 5, generator=g), lambda g: Span(3, 2, coordinates=4, generator=g)]
)
def test_a_generator_is_the_only_source_of_random_numbers(kind):
    before = torch.get_rng_state()
    layer = kind(torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(bool(torch.isfinite(value).all()) for value in layer.parameters())
