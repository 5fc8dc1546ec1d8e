"""Janus: periodic, of any size, saved exactly, and with the published head as an option."""

import pytest
import torch
from torch import nn

from domains.microstructure.janus import Janus, JanusConfig

NAMES = ("conductivity_xx", "youngs_y")


def model(size=(16, 16), **settings) -> Janus:
    torch.manual_seed(0)
    config = JanusConfig(size, NAMES, latent=6, width=8, **settings)
    return Janus(config, torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 0.7])).double()


def cells(*shape: int) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) > 0.5).double()


@pytest.mark.parametrize("size", [(16, 24), (16, 16, 24)])
def test_a_shift_by_a_block_shifts_the_latent_and_the_cell_and_keeps_the_properties(size):
    janus, given = model(size), cells(2, *size)
    for axis in range(1, 1 + len(size)):
        latent, moved = janus.encode(given), janus.encode(torch.roll(given, 8, axis))
        assert latent.shape == (2, 6, *(n // 8 for n in size))
        assert torch.allclose(moved, torch.roll(latent, 1, 1 + axis), rtol=0, atol=1e-14)
        assert torch.allclose(janus.decode(moved), torch.roll(janus.decode(latent), 8, axis), rtol=0, atol=1e-13)
        assert torch.allclose(janus.read(moved), janus.read(latent), rtol=0, atol=1e-13)


def test_a_repeated_cell_has_the_same_properties_and_needs_no_other_model():
    janus, given = model(), cells(3, 16, 16)
    assert torch.allclose(janus.predict(given.repeat(1, 2, 3)), janus.predict(given), rtol=1e-12)


def test_the_published_head_is_one_product_over_a_vector():
    janus, given = model(head="published", rank=1), cells(2, 16, 16)
    latent = janus.encode(given)
    assert latent.shape == (2, janus.config.latent)
    assert janus.decode(latent).shape == given.shape
    # a product of functions of one coordinate: mixed differences of the logarithm vanish
    points = torch.rand(1, janus.config.latent, dtype=torch.float64).repeat(4, 1)
    points[1::2, 0], points[2:, 3] = 0.9, 0.1
    values = janus.read(points) - janus.whole.readout.bias
    assert torch.allclose(values[0] * values[3], values[1] * values[2], rtol=1e-9)
    with pytest.raises(ValueError):
        janus.encode(cells(2, 24, 16))


@pytest.mark.parametrize("head", ["local", "published"])
def test_a_saved_model_is_the_same_model(head, tmp_path):
    janus = model(head=head).float()
    janus.save(tmp_path / "model")
    again = Janus.load(tmp_path / "model")
    assert again.config == janus.config
    assert all(torch.equal(a, b) for a, b in zip(janus.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(janus.predict(cells(2, 16, 16).float()), again.predict(cells(2, 16, 16).float()))


def test_a_model_of_another_version_is_refused(tmp_path):
    other = model()
    other.encoder[0] = nn.Conv2d(1, 8, 4, 4)
    other.save(tmp_path / "model")
    with pytest.raises(ValueError, match="train again"):
        Janus.load(tmp_path / "model")


def test_standardised_values_come_back():
    janus, values = model(), torch.tensor([[0.3, 0.2], [0.9, 0.11]], dtype=torch.float64)
    assert torch.allclose(janus.physical(janus.standardised(values)), values, rtol=1e-12)


@pytest.mark.parametrize("intervals", [1, 4, 7])
def test_the_head_reads_what_its_separable_layers_give(intervals):
    janus = model(intervals=intervals)
    latent = torch.rand(5, 6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    latent[0, :, 0, 0], latent[0, :, 0, 1] = 0.0, 1.0  # the ends of the splines
    latent.requires_grad_(True)
    means = torch.sigmoid(janus.local(latent.movedim(1, -1)).flatten(1, -2).mean(1))
    wanted, found = janus.whole(means), janus.read(latent)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(values.square().sum(), latent)[0] for values in (wanted, found)]
    assert torch.allclose(slopes[0], slopes[1], rtol=0, atol=1e-11)


def test_the_encoder_sees_voxels_less_a_half_beyond_the_edge_as_well():
    janus, given = model(), cells(2, 16, 24)
    first = janus.encoder[0]
    grey = first(torch.full_like(given, 0.5)[:, None])
    assert torch.allclose(grey, first.bias[:, None, None].expand_as(grey), rtol=0, atol=1e-13)
    padded = nn.functional.pad(given[:, None] - 0.5, (2, 2, 2, 2), mode="circular")
    plain = nn.functional.conv2d(padded, first.weight, first.bias, 8)
    assert torch.allclose(first(given[:, None]), plain, rtol=0, atol=1e-13)


def test_the_head_is_counted():
    janus = model()
    encoder_and_decoder = sum(p.numel() for part in (janus.encoder, janus.decoder) for p in part.parameters())
    assert janus.head_parameters() == sum(p.numel() for p in janus.parameters()) - encoder_and_decoder


@pytest.mark.parametrize(
    "change", [{"size": (16,)}, {"size": (8, 16)}, {"size": (20, 16)}, {"properties": ()}, {"head": "dense"}]
)
def test_bad_configurations(change):
    with pytest.raises(ValueError):
        JanusConfig(**{"size": (16, 16), "properties": NAMES, **change})


def test_bad_cells_statistics_and_folders(tmp_path):
    for shape in ((16, 16), (1, 20, 16), (1, 16, 16, 16)):
        with pytest.raises(ValueError):
            model().encode(cells(*shape))
    with pytest.raises(ValueError):
        Janus(JanusConfig((16, 16), NAMES), torch.zeros(3), torch.ones(3))
    with pytest.raises(FileNotFoundError):
        Janus.load(tmp_path)
