"""Drawings are read as they are drawn, and cleaned into periodic cells."""

import copy

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from domains.microstructure.cells import generate
from domains.microstructure.commands import sketch, train
from domains.microstructure.data import CellDataConfig, generate_data
from domains.microstructure.elasticity import effective_stiffness
from domains.microstructure.images import read_cell
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.sketch import (
    SketchCleaner,
    SketchConfig,
    cut,
    drawings,
    drawn_fraction,
    normalised,
    read_sketch,
    rough,
    train_cleaner,
    wobbled,
)
from domains.microstructure.stress import StressDecoder
from domains.microstructure.stress_training import StressTraining
from domains.microstructure.train import TrainConfig
from tests.domains.microstructure.tiff import plain_tiff


@pytest.fixture(scope="module")
def cells():
    return torch.stack([generate("spinodal", (32, 32), 0.5, seed=s, wavelength=16.0) for s in range(12)]).float()


@pytest.fixture(scope="module")
def janus(cells):
    """A model that has learned to reconstruct a few cells."""
    torch.manual_seed(0)
    model = Janus(JanusConfig((32, 32), ("youngs_x",), latent=8, width=8), torch.zeros(1), torch.ones(1))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        batch = cells[:8].roll((5 * step, 3 * step), (1, 2))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model.decode(model.encode(batch)), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def test_a_picture_of_any_size_lands_where_it_was_drawn(tmp_path):
    page = Image.new("L", (317, 203), 235)
    ImageDraw.Draw(page).rectangle((0, 0, 150, 50), fill=40)  # upper left corner: small x, large y
    page.save(tmp_path / "drawing.png")
    found = read_sketch(tmp_path / "drawing.png", (32, 16))
    assert found.shape == (32, 16)
    assert bool((found[:15, 13:] == 1).all())
    assert bool((found[17:] == 0).all())
    assert bool((found[:, :11] == 0).all())
    light = read_sketch(tmp_path / "drawing.png", (32, 16), ink="light")
    assert torch.allclose(light, 1 - found, atol=1e-6)


def test_a_photographed_drawing_is_turned_as_the_camera_was(tmp_path):
    page = Image.new("L", (320, 200), 235)
    ImageDraw.Draw(page).rectangle((0, 0, 159, 49), fill=40)
    page.save(tmp_path / "held.png")
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter with the clock
    page.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    held, turned = (read_sketch(tmp_path / name, (32, 16)) for name in ("held.png", "turned.jpg"))
    assert torch.allclose(turned, held, atol=0.02)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_scan_of_sixteen_bits_is_that_of_eight(tmp_path, suffix):
    page = np.random.default_rng(0).integers(0, 256, (40, 64)).astype(np.uint8)
    Image.fromarray(page).save(tmp_path / "eight.png")
    Image.fromarray(page.astype(np.uint16) * 257).save(tmp_path / f"sixteen.{suffix}")
    eight, sixteen = (read_sketch(tmp_path / name, (32, 16)) for name in ("eight.png", f"sixteen.{suffix}"))
    assert torch.allclose(sixteen, eight, atol=1e-6)


@pytest.mark.parametrize(("kind", "white"), [("<u1", 0), ("<u2", 0), ("<u2", 1), ("<u4", 1)])
def test_a_scan_is_as_bright_as_its_file_says(tmp_path, kind, white):
    bright = np.random.default_rng(0).random((16, 32)) < 0.5
    plain_tiff(tmp_path / "a.tif", np.where(bright == bool(white), np.iinfo(kind).max, 0).astype(kind), {262: white})
    found = read_sketch(tmp_path / "a.tif", (32, 16))
    assert found.tolist() == (~bright)[::-1].T.astype(float).tolist()  # dark ink is phase 1


def test_a_scan_in_floating_point_whose_white_is_zero_is_refused(tmp_path):
    plain_tiff(tmp_path / "a.tif", 255 * np.eye(16, dtype="<f4"), {262: 0, 339: 3})
    with pytest.raises(ValueError, match="white is zero"):
        read_sketch(tmp_path / "a.tif", (16, 16))


def test_colour_and_transparency_are_ink_on_white_paper(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)  # transparent black: paper
    pixels[:, 32:] = (0, 0, 120, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "blue.png")
    found = read_sketch(tmp_path / "blue.png", (16, 16))
    assert found[:8].max() == 0
    assert found[8:].min() == 1


@pytest.mark.parametrize("grey", [(0.3, 0.6), (0.1, 0.9)])
def test_normalised_drawings_do_not_depend_on_the_pen(cells, grey):
    drawing = 0.2 * torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) + 0.6 * cells[0]
    low, high = grey
    found = normalised(low + (high - low) * drawing)
    assert torch.allclose(found, normalised(drawing), atol=1e-5)
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)


def test_rough_is_seeded_and_rough(cells):
    assert torch.equal(rough(cells[0], 3), rough(cells[0], 3))
    assert not torch.equal(rough(cells[0], 3), rough(cells[0], 4))
    wrong = [float(((rough(cell, 5) > 0.5) != (cell > 0.5)).float().mean()) for cell in cells]
    assert 0.01 < np.mean(wrong) < 0.2
    assert torch.equal(rough(cells[0], 3, strength=0.0).round(), cells[0])
    assert torch.equal(wobbled(cells[0], 3, strength=0.0).float(), cells[0])
    spoilt = [float(((wobbled(cell, 5) > 0.5) != (cell > 0.5)).float().mean()) for cell in cells]
    assert 0 < np.mean(spoilt) < np.mean(wrong)
    assert not torch.equal(rough(cells[0], 3), rough(cells[0], 3).round())


def test_drawn_fraction_is_the_share_of_ink(cells):
    assert drawn_fraction(cells[0] * 0.7 + 0.1) == pytest.approx(float(cells[0].mean()))


@pytest.mark.parametrize("fraction", [0.1, 0.37, 0.9])
def test_volume_fraction_is_met_to_a_voxel(fraction):
    logits = torch.randn(3, 16, 24)
    found = cut(logits, fraction)
    assert torch.equal(found.sum((1, 2)), torch.full((3,), float(round(fraction * 384))))
    assert float(logits[found == 1].min()) > float(logits[0].min())
    for values, cell in zip(logits, found, strict=True):
        assert values[cell == 1].min() >= values[cell == 0].max()
    assert torch.equal(cut(logits), (logits > 0).float())


def test_shifts_by_a_block_commute(janus, cells):
    cleaner = SketchCleaner(janus, touch=4)
    for parameter in cleaner.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    cleaner = cleaner.double()
    sketches = cells[:3].double()
    assert torch.allclose(cleaner(sketches.roll((8, 16), (1, 2))), cleaner(sketches).roll((8, 16), (1, 2)), atol=1e-12)


@pytest.mark.parametrize("touch", [0, 4])
def test_training_lowers_the_error_and_repeats_itself(janus, cells, tmp_path, touch):
    janus = copy.deepcopy(janus)
    for layer in janus.encoder:  # an encoder that has forgotten everything
        if isinstance(layer, torch.nn.Conv2d):
            layer.reset_parameters()

    def trained(steps):
        config = SketchConfig(touch=touch, steps=steps, batch=8, rate=1e-2, drawings=24)
        return train_cleaner(cells[:8], janus, config, progress=False)

    before = {name: value.clone() for name, value in janus.state_dict().items()}
    many = trained(80)
    drawn, truth = drawings(cells[8:], 8, seed=99)

    def error(cleaner):
        return float((cleaner.clean(drawn / 255) != truth).float().mean())

    assert error(many) < 0.5 * error(trained(1))
    assert all(torch.equal(value, before[name]) for name, value in janus.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(many.decoder.parameters(), janus.decoder.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(many.parameters(), trained(80).parameters(), strict=True))
    many.save(tmp_path)
    assert torch.equal(SketchCleaner.load(tmp_path, janus)(drawn / 255), many(drawn / 255))


def test_bad_drawings_are_refused(janus, cells, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sketch(tmp_path / "none.png", (16, 16))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError):
        read_sketch(tmp_path / "text.png", (16, 16))
    Image.new("L", (64, 64), 200).save(tmp_path / "blank.png")
    with pytest.raises(ValueError):
        read_sketch(tmp_path / "blank.png", (16, 16))
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "small.png")
    with pytest.raises(ValueError):
        read_sketch(tmp_path / "small.png", (16, 16))
    with pytest.raises(ValueError):
        read_sketch(tmp_path / "blank.png", (16, 16, 16))
    with pytest.raises(ValueError):
        read_sketch(tmp_path / "blank.png", (16, 16), ink="red")
    for bad in (torch.full((4, 4), float("nan")), torch.rand(2, 4, 4)):
        with pytest.raises(ValueError):
            normalised(bad)
    for bad in (torch.ones(8, 8), torch.rand(8, 8), torch.ones(8, 8, 8)):
        with pytest.raises(ValueError):
            rough(bad, 0)
    with pytest.raises(ValueError):
        rough(cells[0], 0, strength=-1.0)
    with pytest.raises(ValueError):
        cut(torch.randn(1, 8, 8), 1.0)
    cleaner = SketchCleaner(janus)
    with pytest.raises(ValueError):
        cleaner(torch.rand(1, 30, 32))
    with pytest.raises(ValueError):
        train_cleaner(cells[:, :24], janus, progress=False)
    with pytest.raises(FileNotFoundError):
        SketchCleaner.load(tmp_path, janus)
    with pytest.raises(ValueError):
        SketchConfig(steps=0)
    deep = Janus(JanusConfig((16, 16, 16), ("youngs_x",), latent=4, width=4), torch.zeros(1), torch.ones(1))
    with pytest.raises(ValueError):
        SketchCleaner(deep)


@pytest.mark.parametrize("bad", [{"strain": (0.0, 0.0, 0.0)}, {"strain": (0.01, 0.0)}, {"volume_fraction": 1.5}])
def test_the_command_refuses_what_cannot_be_before_it_loads_or_trains(tmp_path, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        sketch(tmp_path / "none.png", run=tmp_path / "none", **bad)


def test_the_command_from_a_drawing_to_its_stress(tmp_path):
    materials = Materials(conductivities=None, young=(0.2, 2.0), poisson=(0.3, 0.25))
    data = generate_data(
        tmp_path / "cells.h5",
        CellDataConfig(size=(32, 32), count=12, kinds=("gaussian",), feature=(0.4, 0.5), materials=materials),
        progress=False,
    )
    model = train(data, tmp_path / "run", TrainConfig(steps=2, batch=4), latent=4, width=4).model
    page = Image.new("L", (200, 160), 230)
    ImageDraw.Draw(page).rectangle((0, 60, 199, 110), fill=50)
    page.save(tmp_path / "drawing.png")
    strain = (0.01, -0.002, 0.004)

    def run(**settings):
        return sketch(
            tmp_path / "drawing.png",
            strain=strain,
            run=tmp_path / "run",
            out=tmp_path / "out",
            cleaning=SketchConfig(touch=4, steps=2, batch=2, drawings=4),
            training=StressTraining(cells=4, steps=2, batch=2),
            **settings,
        )

    with pytest.raises(FileNotFoundError):
        run()
    found = run(data=data, volume_fraction=0.25)
    with pytest.raises(ValueError):
        run(volume_fraction=0.25, keep_fraction=True)
    cell = read_cell(tmp_path / "out" / "clean.png")
    assert torch.equal(cell, read_cell(tmp_path / "out" / "clean.h5"))
    assert float(cell.mean()) == 0.25
    with h5py.File(tmp_path / "out" / "stress.h5") as file:
        decoded, solved = torch.from_numpy(file["stress"][:]), torch.from_numpy(file["stress_solver"][:])
    expected = effective_stiffness(cell[None].double(), materials.elastic())[0] @ torch.tensor(strain).double()
    assert torch.allclose(solved.mean((1, 2)), expected, rtol=1e-5)
    assert float((decoded - solved).norm() / solved.norm()) == pytest.approx(found["error of the stress"])
    decoder = StressDecoder.load(tmp_path / "run" / "stress")
    with torch.no_grad():
        again = decoder(model.encode(cell[None].float()), cell[None].float())
    assert torch.allclose(torch.einsum("l,lvxy->vxy", torch.tensor(strain), again[0]), decoded.float(), atol=1e-6)
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    kept = run(keep_fraction=True)
    assert kept["volume fraction"] == pytest.approx(51 / 160, abs=0.04)
