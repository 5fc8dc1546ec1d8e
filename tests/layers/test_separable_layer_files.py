"""The separable layer kept in files and copies: the same layer again, or a refusal; never half of one."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from separable import SeparableLayer
from separable.atoms import BSpline, Chebyshev, Perceptron
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.layers import LearnedCoordinates


def small(interaction, atoms):
    return SeparableLayer(len(atoms), 2, atoms=atoms, interaction=interaction, dtype=torch.float64)


@pytest.fixture(params=["product", "tucker", "learned coordinates", "half"])
def kept(request):
    if request.param == "learned coordinates":
        coordinates = LearnedCoordinates(4, 3)
        return SeparableLayer(4, 2, atoms=BSpline(), interaction=TensorTrain(2), coordinates=coordinates, bias=False)
    if request.param == "half":
        return small(CanonicalPolyadic(rank=2), [BSpline(intervals=3, degree=2)] * 3).to(torch.bfloat16)
    interaction = Tucker(rank=(2, 3, 2)) if request.param == "tucker" else CanonicalPolyadic(rank=2)
    perceptron, spline = Perceptron(functions=3, width=4), BSpline(knots=(0.0, 0.4, 2.0))
    return small(interaction, [perceptron, spline, perceptron if request.param == "tucker" else BSpline(periodic=True)])


def same(first, second):
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and torch.equal(first[k], second[k]) for k in first
    )


def test_save_and_load(kept, tmp_path):
    folder = tmp_path / "deep" / "layer"
    kept.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    before = torch.random.get_rng_state()
    loaded = SeparableLayer.load(str(folder))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(loaded.state_dict(), kept.state_dict())
    assert loaded.config() == kept.config()
    x = torch.rand(5, kept.in_features).to(kept.core.dtype)
    assert torch.equal(loaded(x), kept(x))
    other = copy.deepcopy(kept)
    with torch.no_grad():
        other.core.add_(1)
    other.save(folder)  # over the first
    assert same(SeparableLayer.load(folder).state_dict(), other.state_dict())


def test_a_layer_of_numpy_sizes_is_saved(tmp_path):
    coordinates = LearnedCoordinates(np.int64(4), np.int64(3))
    layer = SeparableLayer(
        np.int64(4), np.int64(2), atoms=BSpline(), interaction=CanonicalPolyadic(rank=2), coordinates=coordinates
    )
    layer.save(tmp_path)
    assert same(SeparableLayer.load(tmp_path).state_dict(), layer.state_dict())


@pytest.mark.parametrize("written", [0, 1])
def test_a_full_disk_leaves_the_copy_that_was_there(written, tmp_path, disk_fills_after):
    layer = small(CanonicalPolyadic(rank=1), [Chebyshev(degree=4)])
    layer.save(tmp_path)
    disk_fills_after(written)
    with pytest.raises(OSError, match="No space left"):
        small(CanonicalPolyadic(rank=2), [Chebyshev(degree=5)]).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert same(SeparableLayer.load(tmp_path).state_dict(), layer.state_dict())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(name, tmp_path):
    small(CanonicalPolyadic(rank=1), [Chebyshev(degree=4)]).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        SeparableLayer.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        SeparableLayer.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_file(name, tmp_path):
    """Cut short anywhere or with any one bit flipped: refused, or in the layout of the JSON alone, without effect."""
    layer = small(CanonicalPolyadic(rank=1), [Chebyshev(degree=4)])
    layer.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ValueError):
            SeparableLayer.load(tmp_path)
    for position, bit in zip(rng.integers(0, len(whole), 150), rng.integers(0, 8, 150), strict=True):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        (tmp_path / name).write_bytes(bytes(damaged))
        try:
            loaded = SeparableLayer.load(tmp_path)
        except ValueError:
            continue
        assert name == "config.json"
        assert json.loads(bytes(damaged)) == json.loads(whole)
        assert same(loaded.state_dict(), layer.state_dict())


def test_files_of_another_layer_or_version(tmp_path):
    layer = small(CanonicalPolyadic(rank=1), [Chebyshev(degree=4)])
    layer.save(tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    changes = (
        {"version": 999},
        {"version": None},
        {"sha256": "0" * 64},
        {"layer": {**description["layer"], "out_features": 3}},
        {"layer": {**description["layer"], "dtype": "nn"}},
        {"layer": []},
    )
    for change in changes:
        (tmp_path / "config.json").write_text(json.dumps({**description, **change}))
        with pytest.raises(ValueError):
            SeparableLayer.load(tmp_path)
    for text in ("[]", "null", "{}", "\udcff"):
        (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ValueError):
            SeparableLayer.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(description))
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "core": tensors["core"] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError):
        SeparableLayer.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(layer.state_dict()))
    with pytest.raises(ValueError):
        SeparableLayer.load(tmp_path)


def test_copies_and_state(kept):
    twin = copy.deepcopy(kept)
    assert same(twin.state_dict(), kept.state_dict())
    with torch.no_grad():
        twin.core.add_(1)
    assert not torch.equal(twin.core, kept.core)
    fresh = SeparableLayer.from_config(json.loads(json.dumps(kept.config())))
    assert not same(fresh.state_dict(), kept.state_dict())
    fresh.load_state_dict(kept.state_dict())
    assert same(fresh.state_dict(), kept.state_dict())
    assert sum(p.numel() for p in fresh.parameters()) == fresh.n_parameters
    assert str(kept.n_parameters) in repr(kept)
    for wrong in ({**kept.config(), "dtype": "complex64"}, {**kept.config(), "atoms": []}):
        with pytest.raises((ValueError, KeyError)):
            SeparableLayer.from_config(wrong)
