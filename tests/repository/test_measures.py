"""What benchmarks work out from what they measured, where the answer is known."""

import math

import pytest
import torch

from benchmarks.forecast_records import by_start, decades
from benchmarks.language_embeddings import BASELINE, TIED, effective_factor, factors
from benchmarks.turbulence_kuramoto import LEARNED, mean_time
from separable.distributions import bootstrap_interval

SIZES = (1e5, 2e5, 4e5, 8e5)


def bits(parameters):
    return 30 * parameters**-0.2


def test_a_model_as_good_as_one_of_twice_the_size_is_worth_two():
    tables = [(size, [bits(size)]) for size in SIZES]
    others = [(size, [bits(2 * size)]) for size in SIZES]
    assert effective_factor(tables, others) == pytest.approx((2.0, 2.0, 2.0))
    # Seeds that differ, and sizes that do, make the interval wide.
    spread = [(size, [bits(2 * size) * (1 + d) for d in (-0.01, 0.01)]) for size in SIZES]
    factor, low, high = effective_factor(tables, spread)
    assert low < factor < high
    assert factor == pytest.approx(2.0, rel=0.01)


def test_factors_and_perplexities_over_both_tables():
    def row(kind, width, worth, nats):
        size = SIZES[width]
        told = {"vocabulary": 8, "budget": "tokens", "kind": kind, "width": width, "parameters": size}
        return told | {"bits_per_byte": bits(worth * size), "nats_per_token": nats}

    rows = [row(BASELINE, width, 1.0, 5.0) for width in range(4)]
    rows += [row(TIED, width, 0.5, 5.0 + 0.1 * width) for width in range(4)]
    rows += [row("generated", width, 1.5, 4.9) for width in range(3)]
    found = {one["kind"]: one for one in factors(rows)}
    assert found.keys() == {TIED, "generated"}
    assert found[TIED]["factor"] == pytest.approx(0.5)
    generated = found["generated"]
    assert (generated["factor"], generated["over tied: factor"]) == pytest.approx((1.5, 3.0))
    assert generated["sizes"] == 3
    most, least = (f"{math.exp(4.9 - tied) - 1:+.1%}" for tied in (5.2, 5.0))
    assert generated["perplexity from tied"] == f"{most} to {least}"


def test_the_error_of_a_spectrum_is_the_decades_that_the_mean_over_starts_is_off():
    truth = [4.0, 2.0, 1.0]
    spectra = [[[4.0, 20.0, 0.1]], [[4.0, 20.0, 0.1]]]  # of one start after another, one seed each
    rows = [{"climate": {"spectra": one * 5, "truth": truth}} for one in spectra]
    over = by_start(rows)
    assert over.shape == (5, 2, 3)
    assert float(decades(over)) == pytest.approx(2 / 3)
    assert by_start([{"climate": {"truth": truth}}]) is None
    lost = [{"climate": {"spectra": [[4.0, 2.0, math.nan]], "truth": truth}}]
    assert by_start(lost) is None
    # Starts that are too high and too low by turns have no error in the mean, but in what else could have been drawn.
    turns = torch.tensor([0.5, 1.5]).repeat(16).reshape(32, 1, 1)
    interval = bootstrap_interval(turns, decades)
    assert float(interval.estimate) == pytest.approx(0.0, abs=1e-6)
    assert float(interval.high) > 0.02


def test_times_of_correlation_are_means_over_seeds():
    falling = torch.tensor([0.9, 0.7]).expand(6, 2)
    slower = torch.tensor([1.0, 0.9]).expand(6, 2)
    found = mean_time(torch.stack([falling, slower], 1))
    # The first is at 0.8 between its leads; the other has not fallen by the last.
    assert float(found) == pytest.approx(LEARNED.spacing * (1.5 + 2.0) / 2)
