"""What is accepted as a cell, and how grey voxels mix."""

import pytest
import torch

from domains.microstructure.phases import checked_cells, phase_shares


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64])
def test_labels_become_float64(kind):
    cells = torch.tensor([[[0, 1], [1, 0]]]).to(kind)
    assert checked_cells(cells).dtype == torch.float64
    assert torch.equal(checked_cells(cells), cells.to(torch.float64))


def test_floating_cells_pass_untouched():
    cells = torch.rand(2, 3, 4, 5, requires_grad=True)
    assert checked_cells(cells) is cells


@pytest.mark.parametrize(
    "bad",
    [
        torch.full((1, 4, 4), torch.nan),
        torch.full((1, 4, 4), torch.inf),
        torch.full((1, 4, 4), 1.0001),
        torch.full((1, 4, 4), -1e-6),
        torch.full((1, 4, 4), 255, dtype=torch.uint8),
        torch.rand(4, 4),
        torch.rand(1, 1, 4, 4, 4),
        torch.rand(0, 4, 4),
        torch.rand(1, 1, 4),
    ],
)
def test_cells_that_are_not_are_refused(bad):
    with pytest.raises(ValueError):
        checked_cells(bad)


@pytest.mark.parametrize("bad", [[[0.0, 1.0]], torch.rand(1, 4, 4).half(), torch.ones(1, 4, 4, dtype=torch.complex64)])
def test_types_that_the_solvers_cannot_take_are_refused(bad):
    with pytest.raises(TypeError):
        checked_cells(bad)


@pytest.mark.parametrize("penalty", [1.0, 2.0, 3.0, 4.5])
def test_shares_add_up_and_keep_pure_voxels(penalty):
    cells = torch.tensor([[[0.0, 0.3], [0.5, 1.0]]], dtype=torch.float64)
    shares = phase_shares(cells, penalty)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(cells))
    assert shares[0, 1, 0, 0] == 0
    assert shares[0, 1, 1, 1] == 1
    assert shares[0, 1, 0, 1] == pytest.approx(0.3**penalty)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_penalty_must_be_positive(penalty):
    with pytest.raises(ValueError):
        phase_shares(torch.rand(1, 2, 2), penalty)
