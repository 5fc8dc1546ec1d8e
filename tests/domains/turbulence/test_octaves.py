"""Octaves of fields against Fourier transforms of numpy."""

import numpy as np
import pytest
import torch

from domains.turbulence.octaves import octaves


@pytest.mark.parametrize("grid", [(24,), (48, 24), (15, 40)])
def test_parts_hold_their_wave_numbers_and_add_up(grid):
    field = torch.randn(3, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = octaves(field, len(grid))
    assert parts.shape == (3, 4, *grid)
    torch.testing.assert_close(parts.sum(1), field)
    frequency = np.sqrt(sum(k**2 for k in np.meshgrid(*(np.fft.fftfreq(n) for n in grid), indexing="ij")))
    found = np.fft.fftn(parts.numpy(), axes=range(2, 2 + len(grid)))
    edges = np.array([-1, 1 / 24, 1 / 12, 1 / 6, 1]) + 1e-9  # below an edge, and on it
    for part in range(4):
        inside = (frequency > edges[part]) & (frequency <= edges[part + 1])
        assert np.abs(found[:, part, ~inside]).max() < 1e-12
        assert np.abs(found[:, part, inside]).min() > 1e-6


def test_gradients_and_precision_are_those_of_the_field():
    field = torch.randn(2, 3, 12, 12, requires_grad=True)
    parts = octaves(field, 2)
    assert parts.dtype == torch.float32
    parts.sum(2).square().sum().backward()
    torch.testing.assert_close(field.grad, 2 * field.detach())
