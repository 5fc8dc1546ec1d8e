"""The quadratic operator against sums written out in numpy, on other grids, and under shifts."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

from domains.turbulence.held_spectrum import rings
from domains.turbulence.learned_forecaster import inner_modes_of, modes_of
from domains.turbulence.model import OperatorConfig, SeparableOperator, products_watched
from domains.turbulence.modes import mean_square, to_modes, to_points
from domains.turbulence.readers import read_flow
from domains.turbulence.readers.lazy_fields import ArraySource


def made(modes=(3, 4), seed=0, **sizes):
    sizes = {"inputs": 2, "outputs": 2, "channels": 3, "products": 2, "blocks": 2, "condition": 4} | sizes
    generator = torch.Generator().manual_seed(seed)
    operator = SeparableOperator(OperatorConfig(modes=modes, **sizes), generator).double()
    with torch.no_grad():
        for parameter in operator.parameters():  # what starts as zero or one would hide mistakes
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return operator


def resolved_fields(count, modes, grid, seed=0):
    """The same random fields of some modes on any grid, double."""
    smallest = tuple(2 * m + 1 for m in modes)
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(*count, *smallest, generator=generator, dtype=torch.float64)
    return to_points(to_modes(white, modes), grid)


def projection(n, m):
    """The matrix that keeps the modes up to m of n points, from cosines and sines."""
    x = np.arange(n) * 2 * np.pi / n
    waves = [np.ones(n)] + [f(p * x) * 2**0.5 for p in range(1, m + 1) for f in (np.cos, np.sin)]
    basis = np.stack(waves, 1)
    return basis @ basis.T / n


def filter_at(taps, n):
    """Values of the trigonometric polynomial through the taps at n offsets, so that a sum over them is the integral."""
    size = len(taps)
    p = np.arange(-(size // 2), size // 2 + 1)
    offset = np.arange(size) * 2 * np.pi / size
    coefficients = np.array([(taps * np.exp(-1j * q * offset)).sum() for q in p])
    at = np.arange(n) * 2 * np.pi / n
    return np.array([(coefficients * np.exp(1j * p * s)).sum().real for s in at]) / n


def circulant(values):
    n = len(values)
    return np.array([[values[(j - i) % n] for i in range(n)] for j in range(n)])


def by_loops(operator, fields, condition, seen=None, late=None):
    """The operator on points, one sample, channel and product at a time; ``seen`` gets the products of each block."""
    named = {name: value.detach().numpy() for name, value in operator.state_dict().items()}
    (m_y, m_x), (n_y, n_x) = operator.config.modes, fields.shape[2:]
    keep_y, keep_x = projection(n_y, m_y), projection(n_x, m_x)
    count, fine = operator.config.blocks, operator.config.fine
    results = []
    for place, (sample, z) in enumerate(zip(fields.numpy(), condition.numpy(), strict=True)):
        h = np.einsum("ci,iyx->cyx", named["lift"], np.stack([keep_y @ field @ keep_x for field in sample]))
        for turn, index in enumerate([*range(count)] * operator.config.rounds):
            if late is not None and turn == count * operator.config.rounds - operator.config.late_blocks:
                h = h + np.einsum("ci,iyx->cyx", named["late_lift"], late[place].numpy())
            p = {name.removeprefix(f"blocks.{index}."): v for name, v in named.items() if name.startswith("blocks.")}
            inner = fine / 2 <= index < count - fine // 2
            low_y, low_x = map(projection, (n_y, n_x), operator.config.inner) if inner else (keep_y, keep_x)
            low = low_y @ h @ low_x
            size = np.sqrt((low**2).mean() + 1e-6)
            u = low / size * (p["gain"] * (1 + (p["film"] @ z if len(z) else 0)))[:, None, None]
            v = []
            for k, row in enumerate(p["mix"]):
                mixed = sum(weight * channel for weight, channel in zip(row, u, strict=True))
                down, along = (filter_at(p[f"filters.taps.{axis}"][k], n) for axis, n in ((0, n_y), (1, n_x)))
                v.append(circulant(down) @ mixed @ circulant(along).T)
            products = operator.config.products
            first, second, third = v[:products], v[products:-products], v[-products:]
            if operator.config.order == 2:
                multiplied = [a * b for a, b in zip(first, second, strict=True)]
            else:
                multiplied = [a * scipy.stats.norm.cdf(a) for a in first]  # GELU
            if seen is not None:
                seen[index].append(np.stack(multiplied))
            largest = named[f"blocks.{index}.largest"]
            largest = largest if largest.any() else np.full(products, np.inf)
            held = [np.clip(product, -most, most) for product, most in zip(multiplied, largest, strict=True)]
            joined = [low_y @ product @ low_x for product in held] + third
            h = h + np.einsum("ck,kyx->cyx", p["join"], np.stack(joined)) + p["bias"][:, None, None]
        results.append(np.einsum("oc,cyx->oyx", named["read"], h))
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize(
    ("blocks", "sizes"),
    [
        *((2, {}), (3, {"inner": (2, 2)}), (3, {"inner": (1, 3), "fine": 1}), (1, {"rounds": 3}), (2, {"rounds": 2})),
        (2, {"order": 1}),
    ],
)
def test_the_operator_is_the_sums_of_its_definition(blocks, sizes):
    operator = made(blocks=blocks, **sizes)
    points = 10 if operator.config.order == 1 else 12  # where it is multiplied; a product is the same on more of them
    fields = torch.randn(2, 2, points, 15, dtype=torch.float64)  # with modes above, which are to be dropped
    condition = torch.randn(2, 4, dtype=torch.float64)
    torch.testing.assert_close(operator.on_points(fields, condition).detach(), by_loops(operator, fields, condition))


@pytest.mark.parametrize(("rounds", "late_blocks"), [(1, 1), (1, 2), (2, 3), (1, 3)])
def test_late_inputs_make_members_of_every_sample(rounds, late_blocks):
    operator = made(blocks=3, inner=(2, 2), condition=0, late=2, late_blocks=late_blocks, rounds=rounds)
    fields, late = (torch.randn(count, 2, 12, 15, dtype=torch.float64) for count in (2, 6))
    gains = (torch.rand(9, dtype=torch.float64) + 0.5)[rings((3, 4), (1.0, 1.0))]
    operator.late_gains.copy_(gains)
    found = operator.on_points(fields, late=late).detach()
    heard = to_points(gains * to_modes(late, (3, 4)), (12, 15))
    expected = by_loops(operator, fields.repeat(3, 1, 1, 1), torch.empty(6, 0), late=heard)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        operator.on_points(fields).detach(), by_loops(operator, fields, torch.empty(2, 0), late=0 * heard[:2])
    )


def test_operators_whose_inputs_all_went_in_together_are_read():
    old = made(inputs=5, condition=0)
    new = made(inputs=3, late=2, late_blocks=2, condition=0, seed=1)
    new.load_state_dict(old.state_dict())
    fields = torch.randn(4, 5, 12, 15, dtype=torch.float64)
    torch.testing.assert_close(new.on_points(fields[:, :3], late=fields[:, 3:]), old.on_points(fields))


def test_products_are_held_to_the_largest_that_were_watched():
    operator = made()
    condition = torch.randn(4, 4, dtype=torch.float64)
    usual = torch.randn(4, 2, 10, 15, dtype=torch.float64)  # the points at which the operator multiplies
    unlike = torch.zeros(4, 2, 10, 15, dtype=torch.float64)
    unlike[:, :, 3, 4] = 1.0  # all in one place
    before = [operator.on_points(fields, condition).detach() for fields in (usual, unlike)]
    with products_watched(operator), torch.no_grad():
        for half in (slice(2), slice(2, 4)):
            operator.on_points(usual[half], condition[half])
    seen = [[], []]
    by_loops(operator, usual, condition, seen)
    for block, products in zip(operator.blocks, seen, strict=True):
        np.testing.assert_allclose(block.largest.numpy(), np.abs(products).max((0, 2, 3)))
    # Not to the last bit: rounding depends on where in memory the numbers lie.
    torch.testing.assert_close(operator.on_points(usual, condition).detach(), before[0], rtol=1e-12, atol=1e-12)
    found = operator.on_points(unlike, condition).detach()
    torch.testing.assert_close(found, by_loops(operator, unlike, condition))
    assert (found - before[1]).abs().max() > 1e-2

    again = made(seed=1)
    again.load_state_dict(operator.state_dict())
    torch.testing.assert_close(again.on_points(unlike, condition).detach(), found, rtol=1e-12, atol=1e-12)
    earlier = {name: value for name, value in operator.state_dict().items() if not name.endswith("largest")}
    again.load_state_dict(earlier)  # as saved by versions that held nothing
    torch.testing.assert_close(again.on_points(unlike, condition).detach(), before[1])

    with pytest.raises(KeyboardInterrupt), products_watched(operator):
        raise KeyboardInterrupt
    torch.testing.assert_close(operator.on_points(unlike, condition).detach(), before[1])


@pytest.mark.parametrize("grid", [(7, 9), (16, 12), (64, 65)])
def test_every_grid_that_resolves_the_modes_gives_the_same(grid):
    operator = made(blocks=3, inner=(2, 3))
    condition = torch.randn(3, 4, dtype=torch.float64)
    found = operator.on_points(resolved_fields((3, 2), (3, 4), grid), condition).detach()
    wanted = operator.on_points(resolved_fields((3, 2), (3, 4), (32, 40)), condition).detach()
    torch.testing.assert_close(to_modes(found, (3, 4)), to_modes(wanted, (3, 4)))


@pytest.mark.parametrize("shift", [(0, 3), (5, 0), (2, 7)])
def test_it_commutes_with_shifts(shift):
    operator = made(blocks=3, inner=(2, 3))
    fields = resolved_fields((2, 2), (3, 4), (16, 18))
    condition = torch.randn(2, 4, dtype=torch.float64)
    moved = operator.on_points(fields.roll(shift, (-2, -1)), condition)
    torch.testing.assert_close(moved, operator.on_points(fields, condition).roll(shift, (-2, -1)))


def test_modes_are_the_fourier_sums_and_parseval_holds():
    field = torch.randn(2, 9, 12, dtype=torch.float64)
    found = to_modes(field, (3, 4))
    y, x = np.arange(9) / 9, np.arange(12) / 12
    for p, q in ((0, 0), (2, 3), (4, -1), (0, -3)):
        wave = np.exp(-2j * np.pi * (p * x[None] + q * y[:, None]))
        expected = (field.numpy() * wave).mean((1, 2))
        np.testing.assert_allclose(found[:, p, q].numpy(), expected, atol=1e-14)
    kept = to_points(found, (9, 12))
    torch.testing.assert_close(mean_square(found, 2), kept.square().mean((1, 2)))
    line = torch.randn(3, 16, dtype=torch.float64)
    torch.testing.assert_close(
        mean_square(to_modes(line, (7,)), 1), to_points(to_modes(line, (7,)), (16,)).square().mean(1)
    )
    assert to_modes(field[:0], (3, 4)).shape == (0, 5, 7)
    with pytest.raises(ValueError, match="points"):
        to_modes(field, (5, 4))


def test_gradients_in_both_dimensions():
    for modes in ((2,), (1, 2)):
        operator = made(
            modes, blocks=2, fine=1, inner=(1,) * len(modes), channels=2, products=1, inputs=1, outputs=1, condition=2
        )
        fields = torch.randn(1, 1, *(2 * m + 2 for m in modes), dtype=torch.float64, requires_grad=True)
        z = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(operator.on_points, (fields, z))
        inputs = (fields.detach(), z.detach(), *operator.parameters())
        assert torch.autograd.gradcheck(lambda f, z, *_, operator=operator: operator.on_points(f, z), inputs)


def test_an_untrained_operator_gives_zero_and_counts_its_numbers():
    config = OperatorConfig(5, 1, (10, 10), condition=16, inner=(5, 6))
    operator = SeparableOperator(config)
    assert not operator.on_points(torch.randn(2, 5, 32, 32), torch.randn(2, 16)).any()
    block, taps = 16 + 16 * 16 + 36 * 16 + 16 * 24 + 16, 36 * 2
    assert operator.n_parameters == 16 * 5 + 12 * block + 2 * taps * 21 + 10 * 36 * (11 + 13) + 16


def test_refusals():
    with pytest.raises(ValueError, match="channels"):
        OperatorConfig(1, 1, (3, 3), channels=0)
    for name in ("fine", "rounds"):
        for size in (0, 2.5, float("nan"), 10**12):
            with pytest.raises(ValueError, match=name):
                OperatorConfig(1, 1, (3, 3), **{name: size})
    for inner in ((2,), (4, 2), (0, 2)):
        with pytest.raises(ValueError, match="inner"):
            OperatorConfig(1, 1, (3, 3), inner=inner)
    with pytest.raises(ValueError, match="order: expected 1 or 2"):
        OperatorConfig(1, 1, (3, 3), order=3)
    with pytest.raises(ValueError, match="modes"):
        OperatorConfig(1, 1, (3, 3, 3))
    for name in ("condition", "late"):
        with pytest.raises(ValueError, match=name):
            OperatorConfig(1, 1, (3, 3), **{name: -1})
    for count in (0, 5):
        with pytest.raises(ValueError, match="late_blocks"):
            OperatorConfig(1, 1, (3, 3), blocks=2, rounds=2, late=1, late_blocks=count)
    operator = made()
    fields, z = torch.randn(1, 2, 12, 12, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    for wrong, condition in ((fields[:, :1], z), (fields, None), (fields, z[:, :3])):
        with pytest.raises(ValueError, match="expected"):
            operator.on_points(wrong, condition)
    with pytest.raises(ValueError, match="None"):
        made(**dataclasses.asdict(OperatorConfig(2, 2, (3, 4), blocks=1))).on_points(fields, z)
    with pytest.raises(ValueError, match="late"):
        operator.on_points(fields, z, fields)  # it has none
    noisy = made(late=1)
    for wrong in (fields, fields[:, :1].repeat(2, 1, 1, 1)):  # two fields; two members where there is a condition
        with pytest.raises(ValueError, match="late"):
            noisy.on_points(fields, z, wrong)
    with pytest.raises(ValueError, match="late"):
        made(late=1, condition=0).on_points(fields.repeat(2, 1, 1, 1), late=fields[:, :1].repeat(3, 1, 1, 1))


def test_the_modes_of_data_are_those_of_the_last_frames_and_nothing_else_is_read(monkeypatch):
    fields = resolved_fields((3, 5), (2, 4), (15, 18)).numpy()
    fields[:, -1] = resolved_fields((3,), (1, 2), (15, 18)).numpy()
    data, read, frames = read_flow(fields), ArraySource.read, []

    def watched(self, sample, start, stop):
        frames.append((start, stop))
        return read(self, sample, start, stop)

    monkeypatch.setattr(ArraySource, "read", watched)
    assert modes_of(data) == (4, 5)
    assert inner_modes_of(data, (4, 5)) == (2, 2)
    assert set(frames) == {(4, 5)}


def test_a_frame_of_nothing_says_nothing_of_the_modes():
    fields = resolved_fields((3, 5), (2, 4), (15, 18)).numpy()
    fields[0, -1] = 0.0
    assert modes_of(read_flow(fields)) == (4, 5)
