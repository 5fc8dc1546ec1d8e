"""One separable filter a channel, against sums written out, and the same on every resolution."""

import itertools
import math

import pytest
import torch

from separable.layers import DepthwiseSeparableFilter


def made(channels, modes, seed=0):
    return DepthwiseSeparableFilter(channels, modes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def band_limited(modes, n, channels, seed=0):
    """The same random field of the given modes on any number of points."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    field = torch.zeros(channels, n, n, dtype=torch.float64)
    for p, q in itertools.product(range(-modes, modes + 1), repeat=2):
        phase, size = torch.rand(2, channels, generator=generator, dtype=torch.float64)
        field += size[:, None, None] * torch.cos(p * x[:, None] + q * x + 6.3 * phase[:, None, None])
    return field


def test_on_the_grid_of_the_taps_it_is_the_circular_convolution():
    layer = made(3, (2, 3))
    u = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    down, along = layer.taps
    expected = torch.zeros_like(u)
    for k, j, i, s, t in itertools.product(range(3), range(5), range(7), range(5), range(7)):
        expected[:, k, j, i] += down[k, s].detach() * along[k, t].detach() * u[:, k, (j - s) % 5, (i - t) % 7]
    torch.testing.assert_close(layer(u).detach(), expected)


@pytest.mark.parametrize("n", [12, 13, 32, 45])
def test_resolutions_agree_where_both_resolve_the_field(n):
    layer = made(4, (5, 5))
    fine, coarse = (layer(band_limited(5, points, 4)).detach() for points in (60, n))
    # The grids share only the first point: compare the coefficients, which hold everything.
    places = [0, 1, 2, 3, 4, 5, -5, -4, -3, -2, -1]
    wanted, found = (torch.fft.fft2(f, norm="forward")[:, places][..., places] for f in (fine, coarse))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(coarse[:, 0, 0], fine[:, 0, 0])


def test_what_lies_above_the_modes_does_not_pass():
    layer = made(1, (3, 3))
    wave = torch.cos(4 * torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)).expand(1, 16, 16)
    assert float(layer(wave).detach().abs().max()) < 1e-14
    assert float(layer(wave[:, :, ::4]).detach().abs().max()) > 1e-3  # aliased to the constant, which passes


def test_white_noise_keeps_its_variance():
    layer = made(200, (8, 9))
    noise = torch.randn(20, 200, 17, 19, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(layer(noise).detach().var()) == pytest.approx(1.0, rel=0.02)


def test_gradients_in_one_and_three_dimensions():
    for modes in ((3,), (1, 2, 1)):
        layer = made(2, modes)
        u = torch.randn(1, 2, *(2 * m + 2 for m in modes), dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda u, *_, layer=layer: layer(u), (u, *layer.taps))


def test_leading_axes_of_any_number_and_an_empty_batch():
    layer = made(2, (2, 3))
    u = torch.randn(3, 2, 2, 8, 9, dtype=torch.float64)
    assert torch.allclose(layer(u), torch.stack([layer(part) for part in u]))
    assert torch.allclose(layer(u[0, 0]), layer(u)[0, 0])
    empty = u[:, :0].clone().requires_grad_()
    assert layer(empty).shape == (3, 0, 2, 8, 9)
    layer(empty).sum().backward()
    assert empty.grad.shape == empty.shape
    assert all(bool((taps.grad == 0).all()) for taps in layer.taps)


def test_refusals():
    with pytest.raises(ValueError, match="channels"):
        made(0, (3, 3))
    with pytest.raises(ValueError, match="reach"):
        DepthwiseSeparableFilter(1, (3,), reach=0.0)
    with pytest.raises(ValueError, match="expected fields"):
        made(2, (3, 3))(torch.randn(3, 8, 8, dtype=torch.float64))
    with pytest.raises(TypeError):
        made(2, (3, 3))(torch.randn(2, 8, 8))
    with pytest.raises(TypeError):
        DepthwiseSeparableFilter(1, (3,), dtype=torch.float16)
