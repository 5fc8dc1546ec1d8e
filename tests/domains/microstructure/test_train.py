"""Training: exact after an interruption, blind to held-out cells, right about symmetries, refused for bad data."""

import dataclasses

import pytest
import torch

from domains.microstructure import train as module
from domains.microstructure.cells import generate
from domains.microstructure.data import CellData, CellDataConfig
from domains.microstructure.janus import JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.properties import property_names, read_properties
from domains.microstructure.train import TrainConfig, axis_orders, held_out_errors, split, train_janus, turned
from separable.training import RunFolder

MODEL = JanusConfig((16, 16), ("conductivity_xx", "conductivity_yy"), latent=4, width=4, modes=4, rank=2)
SHORT = TrainConfig(steps=40, batch=8)


def weights(model):
    return torch.cat([p.flatten() for p in model.state_dict().values()])


def looks(run):
    """Steps after which held-out errors were told."""
    return [line["step"] for line in run.metrics() if "scores" in line]


def test_a_run_that_was_cut_off_ends_with_the_same_weights(small, tmp_path, monkeypatch):
    whole = train_janus(small.data, MODEL, SHORT, run=RunFolder(tmp_path / "a", {}, 0), progress=False)
    measure, calls = module.held_out_errors, []

    def cut(*arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(module, "held_out_errors", cut)
    run = RunFolder(tmp_path / "b", {}, 0)
    with pytest.raises(KeyboardInterrupt):
        train_janus(small.data, MODEL, SHORT, run=run, progress=False)
    assert 0 < max(looks(run)) < 24
    again = train_janus(small.data, MODEL, SHORT, run=run, progress=False)
    assert torch.equal(weights(whole), weights(again))
    assert looks(run) == list(range(2, 41, 2))


def test_a_finished_run_is_not_trained_again(small, tmp_path):
    run = RunFolder(tmp_path, {}, 0)
    first = train_janus(small.data, MODEL, SHORT, run=run, progress=False)
    lines = len(run.metrics())
    assert torch.equal(weights(first), weights(train_janus(small.data, MODEL, SHORT, run=run, progress=False)))
    assert len(run.metrics()) == lines


def test_held_out_cells_change_nothing(small):
    first = small.held_out[0]
    cells, columns = small.data.cells.clone(), {k: v.clone() for k, v in small.data.columns.items()}
    cells[first:] = 1 - cells[first:]
    columns["conductivity"][first:] *= 3
    other = dataclasses.replace(small.data, cells=cells, columns=columns)
    found = [train_janus(data, MODEL, SHORT, progress=False) for data in (small.data, other)]
    assert torch.equal(*map(weights, found))


def test_a_trained_model_reads_cells_it_has_not_seen(small):
    model = small.designer.model
    values = read_properties(small.data.columns, model.config.properties)
    train, test = values[: len(small.rows)], values[len(small.rows) :]
    guess = float((train.log().mean(0).exp() / test - 1).abs().median())
    error, wrong = held_out_errors(model, small.data, small.held_out)
    share = small.data.columns["volume_fraction"][len(small.rows) :]
    assert error < guess / 3
    assert wrong < float(torch.minimum(share, 1 - share).mean()) / 1.3  # what cells of one phase would get wrong


def test_hubers_loss_is_moved_less_by_wrong_properties(small):
    """A tenth of the cells say a hundred times their properties: squares are drawn after them."""
    columns = {k: v.clone() for k, v in small.data.columns.items()}
    columns["conductivity"][: len(small.rows) : 10] *= 100
    wrong = dataclasses.replace(small.data, columns=columns)
    config = TrainConfig(steps=150, batch=16, rate=1e-2)
    errors = []
    for huber in (None, 0.05):
        model = train_janus(wrong, MODEL, dataclasses.replace(config, huber=huber), progress=False)
        errors.append(held_out_errors(model, small.data, small.held_out)[0])
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("size", [(12, 12), (8, 8, 8)])
def test_values_of_turned_cells_are_the_solvers(size):
    materials = Materials()
    cells = torch.stack([generate("gaussian", size, 0.5, seed=s, length=(3.0, 1.5, 2.0)[: len(size)]) for s in (0, 1)])
    names = [n for n in property_names(["conductivity", "stiffness"], len(size)) if n != "volume_fraction"]
    values = read_properties(materials.solve(cells), names)
    turns = axis_orders(names, len(size))
    assert len(turns) == (2 if len(size) == 2 else 6)
    for seed, turn in enumerate(turns):
        other, expected = turned(cells, values, [turn], torch.Generator().manual_seed(seed))
        assert torch.allclose(read_properties(materials.solve(other), names), expected, rtol=1e-5)


def test_cells_of_layers_are_learned_as_they_are_and_turned():
    """Of which conductivities along x and y are so different that a turned cell is like no other of the set."""
    cells = torch.stack([generate("gaussian", (16, 16), 0.5, seed=s, length=(6.0, 1.2)) for s in range(160)])
    materials = Materials(young=None)
    config = CellDataConfig((16, 16), 160, feature=(0.4, 0.5))
    data = CellData(cells.byte(), materials.solve(cells.float()), ["gaussian"] * 160, config)
    model = train_janus(data, MODEL, TrainConfig(steps=300, batch=16, rate=1e-2), progress=False)
    for fresh in (cells[-16:].float(), cells[-16:].float().mT):
        known = read_properties(materials.solve(fresh), MODEL.properties)
        assert float((model.predict(fresh).detach() / known - 1).abs().median()) < 0.15


def test_only_symmetries_that_keep_the_set_of_properties_are_used():
    assert len(axis_orders(["conductivity_xx"], 2)) == 1
    assert len(axis_orders(["permeability_xx", "permeability_yy"], 3)) == 2
    assert len(axis_orders(["volume_fraction"], 3)) == 6


@pytest.mark.parametrize("head", ["local", "published"])
def test_cells_of_unequal_sides_are_learned_by_either_head(head):
    cells = torch.stack([generate("spinodal", (16, 24), 0.5, seed=s, wavelength=8.0) for s in range(10)])
    columns = Materials(young=None).solve(cells.float())
    data = CellData(cells.byte(), columns, ["spinodal"] * 10, CellDataConfig((16, 24), 10, feature=(0.4, 0.5)))
    settings = dataclasses.replace(MODEL, size=(16, 24), head=head)
    model = train_janus(data, settings, TrainConfig(steps=10, batch=4), progress=False)  # some of them turned
    assert bool(torch.isfinite(model.predict(data.cells.float())).all())


def test_bad_data_and_settings_are_refused(small):
    with pytest.raises(ValueError):
        train_janus(small.data, dataclasses.replace(MODEL, size=(24, 24)), SHORT, progress=False)
    for value in (0.0, -1.0, float("nan")):
        columns = {k: v.clone() for k, v in small.data.columns.items()}
        columns["conductivity"][5, 0, 0] = value
        with pytest.raises(ValueError):
            train_janus(dataclasses.replace(small.data, columns=columns), MODEL, SHORT, progress=False)
    with pytest.raises(ValueError):
        train_janus(small.data, dataclasses.replace(MODEL, properties=("permeability_xx",)), SHORT, progress=False)
    for bad in ({"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"held_out": 1.0}, {"huber": 0.0}):
        with pytest.raises(ValueError):
            dataclasses.replace(SHORT, **bad)
    with pytest.raises(ValueError):
        split([0], 0.5)


def test_a_rate_that_blows_up_is_reported_and_the_checkpoint_stays(small, tmp_path):
    run = RunFolder(tmp_path, {}, 0)
    with pytest.raises(FloatingPointError):
        train_janus(small.data, MODEL, dataclasses.replace(SHORT, rate=1e25), run=run, progress=False)
    assert not (tmp_path / "janus.json").exists()
