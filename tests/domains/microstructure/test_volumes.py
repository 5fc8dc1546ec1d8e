"""The way of three-dimensional cells through Janus: splines that follow their coefficients, and patches in order."""

import itertools

import pytest
import torch
from torch import nn

from domains.microstructure.volumes import VolumeDecoder, VolumeEncoder, to_grid, upsampled


def test_splines_follow_their_coefficients():
    coefficients = torch.randn(2, 3, 4, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fine = upsampled(coefficients, 2)
    assert fine.shape == (2, 3, 8, 10, 16)
    # a quarter of an interval beside a knot, a cubic spline has these values of its four nearest coefficients
    weights = [1 / 384, 121 / 384, 235 / 384, 27 / 384]
    expected = coefficients
    for axis in (2, 3, 4):
        left = sum(w * torch.roll(expected, 2 - k, axis) for k, w in enumerate(weights))
        right = sum(w * torch.roll(expected, k - 2, axis) for k, w in enumerate(weights))
        expected = torch.stack([left, right], axis + 1).flatten(axis, axis + 1)
    assert torch.allclose(fine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_what_lies_across_a_face_is_seen(axis):
    torch.manual_seed(0)
    encoder, decoder = VolumeEncoder(4, 6).double(), VolumeDecoder(4, 6).double()
    cells = torch.rand(1, 1, 16, 24, 32, dtype=torch.float64)
    latent = encoder(cells)
    moved = encoder(torch.roll(cells, 8, axis))
    assert torch.allclose(moved, torch.roll(latent, 1, axis), rtol=0, atol=1e-12)
    assert torch.allclose(decoder(moved), torch.roll(decoder(latent), 8, axis), rtol=0, atol=1e-12)


def test_patches_are_laid_out_as_pixel_shuffle_does_in_any_dimension():
    flat = torch.rand(2, 12, 3, 5)
    assert torch.equal(to_grid(flat, 2, 2), nn.functional.pixel_shuffle(flat, 2))
    deep = torch.rand(1, 16, 2, 3, 2)
    fine = to_grid(deep, 2, 3)
    for c, i, j, k in itertools.product(range(2), range(4), range(6), range(4)):
        channel = c * 8 + (i % 2) * 4 + (j % 2) * 2 + k % 2
        assert fine[0, c, i, j, k] == deep[0, channel, i // 2, j // 2, k // 2]
