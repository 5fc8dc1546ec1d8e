"""A posterior kept in two files comes back as it was; what is not one is refused."""

import json

import numpy as np
import pytest
import torch

import separable
from separable.fitting import Posterior


@pytest.fixture(scope="module")
def posterior():
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.exp(torch.sin(3 * x[:, 0]) + x[:, 1])
    return separable.condition(x, y, links=["log"])


def test_the_same_posterior_comes_back(posterior, tmp_path):
    folder = tmp_path / "deep" / "posterior"
    posterior.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["posterior.json", "posterior.safetensors"]
    loaded = Posterior.load(str(folder))
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.2
    torch.testing.assert_close(loaded.predict(x), posterior.predict(x), rtol=1e-9, atol=0)
    for ours, theirs in zip(loaded.interval(x, 0.8), posterior.interval(x, 0.8), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    assert loaded.report == posterior.report
    assert loaded.domain == posterior.domain
    assert torch.equal(loaded.suggest(3, candidates=64), posterior.suggest(3, candidates=64))


@pytest.mark.parametrize("name", ["posterior.json", "posterior.safetensors"])
def test_a_missing_or_damaged_file_is_refused(posterior, tmp_path, name):
    posterior.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for position, bit in zip(rng.integers(0, len(whole), 60), rng.integers(0, 8, 60), strict=True):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        (tmp_path / name).write_bytes(bytes(damaged))
        try:
            Posterior.load(tmp_path)
        except ValueError:
            continue
        assert json.loads(bytes(damaged)) == json.loads(whole)  # a flipped blank of the layout
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:cut])
        with pytest.raises(ValueError):
            Posterior.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        Posterior.load(tmp_path)


def test_files_of_two_posteriors_are_not_mixed(posterior, tmp_path):
    posterior.save(tmp_path)
    kept = (tmp_path / "posterior.json").read_bytes()
    posterior.extended([[0.5, 0.5]], [4.0]).save(tmp_path)
    (tmp_path / "posterior.json").write_bytes(kept)
    with pytest.raises(ValueError):
        Posterior.load(tmp_path)


@pytest.mark.parametrize("written", [0, 1])
def test_a_full_disk_leaves_the_pair_that_was_there(posterior, tmp_path, disk_fills_after, written):
    posterior.save(tmp_path)
    disk_fills_after(written)
    with pytest.raises(OSError, match="No space left"):
        posterior.extended([[0.5, 0.5]], [4.0]).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["posterior.json", "posterior.safetensors"]
    assert torch.equal(Posterior.load(tmp_path).x, posterior.x)
