"""What Janus is compared with works: statistics counted one by one, models that beat a guess."""

import itertools

import numpy as np
import pytest
import torch

from domains.microstructure.baselines import (
    ConvolutionalRegressor,
    ridge_errors,
    train_regressor,
    two_point_statistics,
)
from domains.microstructure.properties import read_properties

NAMES = ("conductivity_xx", "youngs_y")


@pytest.mark.parametrize(("size", "reach"), [((8, 10), 2), ((6, 6, 8), 1), ((8, 8), 16)])
def test_two_point_statistics_are_counts_of_pairs(size, reach):
    cells = (torch.rand(2, *size, generator=torch.Generator().manual_seed(0)) > 0.6).numpy()
    found = two_point_statistics(torch.from_numpy(cells).float(), reach)
    reach = min(reach, min(size) // 2 - 1)
    lags = itertools.product(*[range(-reach, reach + 1)] * (len(size) - 1), range(reach + 1))
    for column, lag in enumerate(lags):
        for row, cell in enumerate(cells):
            pairs = (cell & np.roll(cell, [-n for n in lag], range(len(size)))).mean()
            assert found[row, column] == pytest.approx(pairs, abs=1e-12)
    assert found.shape[1] == (2 * reach + 1) ** (len(size) - 1) * (reach + 1)


def test_the_regressor_reads_no_place():
    torch.manual_seed(0)
    model = ConvolutionalRegressor(2, 3, width=4).double().eval()
    cells = torch.rand(2, 16, 24, dtype=torch.float64)
    assert torch.allclose(model(cells), model(torch.roll(cells, (8, 16), (1, 2))), rtol=1e-9)
    assert ConvolutionalRegressor(3, 2, width=4)(torch.rand(2, 8, 8, 16)).shape == (2, 2)


def test_both_are_better_than_a_guess(small):
    values = read_properties(small.data.columns, NAMES)
    test = values[len(small.rows) :]
    guess = float((values[: len(small.rows)].log().mean(0).exp() / test - 1).abs().median())
    ridge = ridge_errors(small.data, NAMES, range(300), small.held_out, reach=4)
    assert ridge.shape == test.shape
    assert float(ridge.median()) < guess / 4
    model, centre, spread = train_regressor(small.data, NAMES, small.rows, seconds=3.0, width=8, batch=16)
    with torch.no_grad():
        found = torch.exp(model(small.data.cells[len(small.rows) :].float()) * spread + centre)
    assert float((found / test - 1).abs().median()) < guess / 2


def test_the_regressor_learns_from_the_rows_that_it_is_given(small):
    rows = range(200, 216)
    _, centre, _ = train_regressor(small.data, ("conductivity_xx",), rows, seconds=0.05, width=4, batch=4)
    wanted = torch.log(read_properties(small.data.columns, ("conductivity_xx",))[200:216].double())
    assert float(centre) == pytest.approx(float(wanted.mean()), rel=1e-6)
