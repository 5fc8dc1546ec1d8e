"""Training: the loss against its formula, the same bits after an interruption, an end after minutes, learning."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from domains.turbulence import train as module
from domains.turbulence import training_data
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.train import TrainConfig, train, window_loss
from domains.turbulence.training_data import split
from separable.training import RunFolder, loop

SMALL = TrainConfig(
    NoiseForecasterConfig(channels=6, products=4, blocks=2, modes=(6, 6), noise_fields=1, noise_vector=2),
    steps=24,
    batch=3,
)


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    for name in ("_STARTS", "_MEMBERS", "_LEADS"):
        monkeypatch.setattr(training_data, name, 2)


@pytest.fixture(scope="module")
def flow():
    return read_flow("datasets/kolmogorov_flow/sample.h5", scan=False)


def tensors(forecaster):
    return {name: value.clone() for name, value in forecaster.network.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def by_octave(*fields):
    """Triples of the parts of fields (B, 8, 8) whose wave numbers end at 1/3, 2/3, 4/3 of one, and of the rest."""
    k = np.fft.fftfreq(8, 1 / 8)
    radius = np.hypot(*np.meshgrid(k, k))
    edges = [-1, 1 / 3, 2 / 3, 4 / 3, np.inf]
    for low, high in itertools.pairwise(edges):
        kept = (radius > low) & (radius <= high)
        yield [np.fft.ifft2(np.fft.fft2(field) * kept).real for field in fields]


def test_the_loss_is_the_almost_fair_crps_of_two_members_over_their_own_steps():
    description = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (8, 8), (1.0, 1.0))
    config = NoiseForecasterConfig(channels=3, products=2, blocks=1, modes=(3, 3), noise_fields=1, noise_vector=2)
    generator = torch.Generator().manual_seed(0)
    forecaster = NoiseForecaster(config, description, FrameStatistics(0.5, 2.0, 0.3), generator)
    forecaster.network.double().read.data.normal_(generator=generator)
    forecaster._waves = forecaster._waves.to(torch.complex128)
    frames = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=generator)
    torch.set_default_dtype(torch.float64)  # of the noise
    try:
        found = window_loss(forecaster, frames, torch.Generator().manual_seed(5), octave_weight=0.5)
        found.backward()
        noise = torch.Generator().manual_seed(5)
        drawn = [torch.randn(8, forecaster.noise_numbers, generator=noise) for _ in range(2)]

        def by_hand():
            total = 0.0
            last = [(frames[:, 0] - 0.5) / 2.0] * 2
            for lead in range(2):
                for j in range(2):
                    past = forecaster.standardised(last[j][:, None] * 2.0 + 0.5)
                    following = forecaster.step(past, drawn[lead][4 * j : 4 * j + 4])
                    last[j] = forecaster.on_points(following, (8, 8)).detach()
                a, b, w = (t.numpy() for t in (*last, (frames[:, 1 + lead] - 0.5) / 2.0))
                # Lang et al. 2024: fair in part, the plain score for the rest; M = 2
                for weight, (x, y, z) in [(1.0, (a, b, w)), *((0.5, parts) for parts in by_octave(a, b, w))]:
                    plain = (abs(x - z) + abs(y - z)) / 2 - abs(x - y) / 4
                    fair = (abs(x - z) + abs(y - z)) / 2 - abs(x - y) / 2
                    total += weight * (0.99 * fair + 0.01 * plain).mean() / 2
            return total

        # The frames of `last` lie on the modes after the first step, and the given ones are cut to them in both ways.
        assert found.item() == pytest.approx(by_hand(), rel=1e-9)
        weight = forecaster.network.blocks[0].join
        slope, step = weight.grad[1, 2].item(), 1e-6
        ends = []
        for sign in (1, -1):
            weight.data[1, 2] += sign * step
            ends.append(by_hand())
            weight.data[1, 2] -= sign * step
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
        assert abs(slope) > 1e-6
    finally:
        torch.set_default_dtype(torch.float32)


def test_one_member_alone_learns_its_absolute_error_without_noise():
    description = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (8, 8), (1.0, 1.0))
    config = NoiseForecasterConfig(channels=3, products=2, blocks=1, modes=(3, 3), noise_fields=1, noise_vector=2)
    forecaster = NoiseForecaster(config, description, FrameStatistics(0.5, 2.0, 0.3), torch.Generator().manual_seed(0))
    forecaster.network.read.data.normal_(generator=torch.Generator().manual_seed(1))
    frames = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    following = forecaster.step(forecaster.standardised(frames[:, :1]), torch.zeros(4, forecaster.noise_numbers))
    error = forecaster.on_points(following, (8, 8)) - (frames[:, 1] - 0.5) / 2.0
    found = window_loss(forecaster, frames, alone=True)
    assert found.item() == pytest.approx(error.abs().mean().item(), rel=1e-5)


def test_the_loudness_of_noise_is_set_after_the_training(flow):
    held, left = (
        tensors(train(flow, dataclasses.replace(SMALL, spread_windows=count), progress=False)) for count in (8, 0)
    )
    assert [name for name in left if not torch.equal(held[name], left[name])] == ["late_gains"]
    assert bool((left["late_gains"] == 1).all())


def test_members_are_alone_in_the_first_part_only(flow, monkeypatch):
    shares = []

    def told(forecaster, frames, *, alone, **named):
        shares.append((alone, frames.shape[1]))
        return window_loss(forecaster, frames, alone=alone, **named)

    monkeypatch.setattr(module, "window_loss", told)
    train(flow, dataclasses.replace(SMALL, steps=10, rollout=3, rollout_from=0.8, alone_until=0.3), progress=False)
    assert shares == 3 * [(True, 2)] + 5 * [(False, 2)] + 2 * [(False, 4)]


def test_it_learns(flow, tmp_path):
    config = dataclasses.replace(SMALL, steps=240, batch=8, model=dataclasses.replace(SMALL.model, modes=()))
    run = RunFolder(tmp_path, dataclasses.asdict(config), 0)
    train(flow, config, run=run, progress=False)
    looks = [row for row in run.metrics() if "scores" in row]
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert len(looks) == 10
    frames = flow.load(split(flow, 0.1)[1])
    persistence = float((frames[:, 1:] - frames[:, :-1]).abs().mean() / frames.std())
    assert looks[-1]["scores"]["crps_1"] < 0.75 * persistence
    first = losses[: round(config.alone_until * len(losses))]  # later other scores are added
    assert np.mean(first[-5:]) < 0.9 * np.mean(first[:2])
    assert NoiseForecaster.load(tmp_path).config.modes == (10, 10)


def test_products_are_held_to_their_range_in_training(flow, tmp_path):
    forecaster = train(flow, SMALL, progress=False)
    largest = [value for name, value in tensors(forecaster).items() if name.endswith("largest")]
    assert len(largest) == 2
    assert all(((part > 0) & part.isfinite()).all() for part in largest)
    frames = flow.load(range(2))[:, 0]
    found = next(forecaster.rollout(frames[:, None], 2, seed=1))
    forecaster.save(tmp_path)
    assert torch.equal(next(load_forecaster(tmp_path).rollout(frames[:, None], 2, seed=1)), found)


def interrupting(monkeypatch, number):
    """Ends a training from inside its loss at one call; returns the list of calls."""
    loss, calls = module.window_loss, []

    def interrupted(*arguments, **named):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return loss(*arguments, **named)

    monkeypatch.setattr(module, "window_loss", interrupted)
    return calls


def last_step(folder):
    return json.loads((folder / "last.json").read_text())["step"]


def test_an_interrupted_run_ends_with_the_same_bits(flow, tmp_path, monkeypatch):
    whole = train(flow, SMALL, progress=False)
    assert same(tensors(whole), tensors(train(flow, SMALL, progress=False)))
    calls = interrupting(monkeypatch, 19)  # in the second part, between two checkpoints
    run = RunFolder(tmp_path, dataclasses.asdict(SMALL), 0)
    with pytest.raises(KeyboardInterrupt):
        train(flow, SMALL, run=run, progress=False)
    kept = last_step(tmp_path)
    assert 0 < kept < 18
    again = train(flow, SMALL, run=run, progress=False)
    assert len(calls) == 19 + 24 - kept
    assert same(tensors(whole), tensors(again))
    assert same(tensors(whole), tensors(NoiseForecaster.load(tmp_path)))
    assert not same(tensors(whole), tensors(train(flow, dataclasses.replace(SMALL, seed=1), progress=False)))


def test_windows_read_from_the_file_train_the_same(flow, monkeypatch):
    whole = train(flow, SMALL, progress=False)
    monkeypatch.setattr(training_data, "_IN_MEMORY", 0)
    assert same(tensors(whole), tensors(train(flow, SMALL, progress=False)))


def test_held_out_samples_are_never_trained_on(flow):
    frames = flow.load().numpy()
    sizes = dataclasses.replace(SMALL.model, blocks=3, modes=(15, 15))
    config = dataclasses.replace(SMALL, model=sizes, held_out=0.25, steps=4)

    def trained(values):
        data = read_flow(values, spacing=flow.spacing, time_step=1.0)
        return tensors(train(data, config, progress=False))

    changed = frames.copy()
    changed[6:] = 3 * np.random.default_rng(0).normal(size=changed[6:].shape)  # whose inner modes are others
    assert same(trained(frames), trained(changed))
    changed[5] *= 3
    assert not same(trained(frames), trained(changed))


def test_minutes_end_a_run_and_what_is_spent_counts_after_an_interruption(flow, tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, steps=0, minutes=1.0)
    now = [0.0]

    def tick():  # each step reads the clock twice, so it takes 2.5 s
        now[0] += 2.5
        return now[0]

    monkeypatch.setattr(loop.time, "process_time", tick)
    calls = interrupting(monkeypatch, 11)
    run = RunFolder(tmp_path, dataclasses.asdict(config), 0)
    with pytest.raises(KeyboardInterrupt):
        train(flow, config, run=run, progress=False)
    spent = last_step(tmp_path)
    assert 0 < spent < 11
    train(flow, config, run=run, progress=False)
    assert last_step(tmp_path) == 24
    assert run.metrics()[-1]["seconds"] == pytest.approx(60.0)
    assert len(calls) == 11 + 24 - spent
    train(flow, config, run=run, progress=False)
    assert len(calls) == 11 + 24 - spent


def test_scales_of_mirrored_flows_have_no_mean(flow):
    mirrored = train(flow, dataclasses.replace(SMALL, steps=1), progress=False)
    shifted = train(flow, dataclasses.replace(SMALL, steps=1, symmetries="shifts"), progress=False)
    frames = flow.load(range(7)).double()
    assert mirrored.centre == 0.0
    assert shifted.centre == pytest.approx(float(frames.mean()), abs=1e-9)
    assert mirrored.scale == pytest.approx(float(frames.square().mean().sqrt()))
    changes = (frames[:, 1:] - frames[:, :-1]).square().mean().sqrt()
    assert mirrored.increment == pytest.approx(float(changes) / mirrored.scale)


def test_one_dimension_trains():
    waves = np.random.default_rng(0).normal(size=(3, 6, 16)).astype(np.float32)
    config = dataclasses.replace(SMALL, steps=2, model=dataclasses.replace(SMALL.model, modes=()))
    assert train(read_flow(waves), config, progress=False).config.modes == (7,)


def test_refusals(flow):
    for changes, word in (
        ({"steps": -1}, "steps"),
        ({"steps": 0, "minutes": 0.0}, "minutes"),
        ({"batch": 0}, "batch"),
        ({"rollout": 0}, "rollout"),
        ({"held_out": 1.0}, "held_out"),
        ({"rollout_from": 1.5}, "rollout_from"),
    ):
        with pytest.raises(ValueError, match=word):
            dataclasses.replace(SMALL, **changes)
    for data, word in (
        (read_flow(np.ones((3, 5, 16, 16))), "changes"),
        (read_flow(np.random.default_rng(0).normal(size=(1, 5, 16, 16))), "samples"),
        (read_flow(np.random.default_rng(0).normal(size=(3, 2, 16, 16))), "frames"),
        (read_flow(np.random.default_rng(0).normal(size=(3, 5, 16, 16)), periodic=False), "periodic"),
    ):
        with pytest.raises(ValueError, match=word):
            train(data, SMALL, progress=False)


def test_a_loss_that_is_not_finite_is_told(flow, monkeypatch):
    monkeypatch.setattr(module, "window_loss", lambda *_, **__: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(FloatingPointError, match="step 0"):
        train(flow, SMALL, progress=False)
