"""`separable.invert` against functions whose preimages are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import separable
from separable.atoms import BSpline, Chebyshev, Fourier, Table
from separable.interactions import CanonicalPolyadic
from separable.layers import LearnedCoordinates, SeparableLayer


@pytest.fixture(scope="module")
def circle() -> SeparableLayer:
    """x^2 + y^2 and x on [-1, 1]^2, exactly."""
    model = SeparableLayer(
        2,
        2,
        atoms=Chebyshev(degree=2, domain=(-1.0, 1.0)),
        interaction=CanonicalPolyadic(rank=3),
        dtype=torch.float64,
    )
    x = 2 * torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    report = separable.fit(model, x, torch.stack([x.square().sum(1), x[:, 0]], 1), tolerance=1e-9, max_steps=300)
    assert report.training < 1e-6
    return model


def test_solutions_of_one_equation_lie_on_the_circle_and_apart(circle: SeparableLayer) -> None:
    found = separable.invert(circle, 0.49, outputs=[0], n_solutions=6)
    assert len(found) == 6
    assert bool(found.converged.all())
    assert torch.allclose(found.inputs.norm(dim=1), torch.full((6,), 0.7, dtype=torch.float64), atol=1e-4)
    assert float(torch.pdist(found.inputs).min()) > 0.3
    assert torch.allclose(found.outputs, circle(found.inputs))


def test_a_determined_system_has_all_its_solutions_and_no_more(circle: SeparableLayer) -> None:
    found = separable.invert(circle, [0.5, 0.5])
    assert len(found) == 2
    expected = torch.tensor([[0.5, -0.5], [0.5, 0.5]], dtype=torch.float64)
    assert torch.allclose(found.inputs[found.inputs[:, 1].argsort()], expected, atol=1e-4)


def test_fixed_inputs_and_bounds_are_kept(circle: SeparableLayer) -> None:
    for value in (0.1, np.float32(0.1), torch.tensor(0.1)):
        found = separable.invert(circle, 0.5, outputs=[0], fixed={1: value}, bounds=[(0.0, 1.0), (-1.0, 1.0)])
        assert len(found) == 1
        assert torch.allclose(found.inputs, torch.tensor([[0.7, 0.1]], dtype=torch.float64), atol=1e-4)


def test_inputs_that_are_all_fixed_reach_their_own_output(circle: SeparableLayer) -> None:
    # The deviation of equal numbers may be rounding.
    for x, y in ((0.3, -0.7), (0.1, 0.7), (0.9, 0.3), (-0.85, 0.45)):
        there = float(circle(torch.tensor([[x, y]], dtype=torch.float64)).detach()[0, 0])
        options = {"fixed": {0: x, 1: y}, "outputs": [0], "starts": 1}
        found = separable.invert(circle, there + 1e-9, **options)
        assert found.reachable
        assert found.inputs.tolist() == [[x, y]]
        assert not separable.invert(circle, there + 1e-3, **options).reachable


@pytest.mark.parametrize("as_given", [lambda box: box, lambda box: box.numpy()])
def test_given_bounds_stay_as_they_are(circle: SeparableLayer, as_given: Callable[[torch.Tensor], Any]) -> None:
    box = torch.tensor([(0.0, 1.0), (-1.0, 1.0)], dtype=torch.float64)
    separable.invert(circle, 0.5, as_given(box), outputs=[0], fixed={1: 0.1})
    assert box.tolist() == [[0.0, 1.0], [-1.0, 1.0]]
    again = separable.invert(circle, 0.5, as_given(box), outputs=[0], fixed={1: -0.4})
    assert float(again.inputs[0, 1]) == -0.4


def test_an_unreachable_target_says_so_and_gives_the_nearest(circle: SeparableLayer) -> None:
    found = separable.invert(circle, 3.0, outputs=[0])
    assert not found.reachable
    assert not bool(found.converged.any())
    assert torch.allclose(found.inputs[0].abs(), torch.ones(2, dtype=torch.float64), atol=1e-6)
    assert abs(float(found.residuals[0, 0]) + 1.0) < 1e-4
    assert float(found.seen[1, 0]) <= 2.0001


def test_a_band_accepts_what_lies_in_it(circle: SeparableLayer) -> None:
    found = separable.invert(circle, 0.5, outputs=[0], band=0.1, n_solutions=20)
    squares = found.inputs.square().sum(1)
    assert bool(((squares > 0.399) & (squares < 0.601)).all())
    assert float(squares.max() - squares.min()) > 0.05
    assert bool((found.residuals.abs() < 1e-5).all())


def test_a_prior_picks_the_most_probable_point(circle: SeparableLayer) -> None:
    mean = torch.tensor([0.6, 0.6], dtype=torch.float64)
    found = separable.invert(circle, 0.5, outputs=[0], prior=(mean, 0.2), n_solutions=1)
    assert torch.allclose(found.inputs[0], torch.tensor([0.5, 0.5], dtype=torch.float64), atol=2e-3)


@pytest.mark.parametrize("noise", [1e-3, 1e-6])
def test_a_prior_is_followed_along_the_solutions_whatever_the_noise(circle: SeparableLayer, noise: float) -> None:
    """Nearest to (0.6, 0.3) in units of (0.1, 0.3) on the circle of radius 1/2, by its angle."""
    mean = torch.tensor([0.6, 0.3], dtype=torch.float64)
    spread = torch.tensor([0.1, 0.3], dtype=torch.float64)
    angle = torch.linspace(-torch.pi, torch.pi, 200_001, dtype=torch.float64)
    points = 0.5 * torch.stack([angle.cos(), angle.sin()], 1)
    nearest = points[((points - mean) / spread).square().sum(1).argmin()]
    found = separable.invert(circle, 0.25, outputs=[0], prior=(mean, spread), noise=noise, n_solutions=1)
    assert torch.allclose(found.inputs[0], nearest, atol=2e-3)


def test_categories_are_tried_as_whole_numbers() -> None:
    model = SeparableLayer(
        2, 1, atoms=[Table(3), BSpline(4, 3)], interaction=CanonicalPolyadic(rank=2), dtype=torch.float64
    )
    generator = torch.Generator().manual_seed(0)
    category = torch.randint(0, 3, (400,), generator=generator).double()
    x = torch.rand(400, dtype=torch.float64, generator=generator)
    separable.fit(model, torch.stack([category, x], 1), category + x, tolerance=1e-9)
    found = separable.invert(model, 1.5)
    assert len(found) == 1
    assert torch.allclose(found.inputs, torch.tensor([[1.0, 0.5]], dtype=torch.float64), atol=1e-4)
    assert not separable.invert(model, 0.3, bounds=[(0.5, 1.5), (0.0, 1.0)]).reachable  # it would take category 0
    only = separable.invert(model, 1.3, bounds=[(0.5, 1.5), (0.0, 1.0)])
    assert torch.allclose(only.inputs, torch.tensor([[1.0, 0.3]], dtype=torch.float64), atol=1e-4)
    for wrong in ({"fixed": {0: 1.5}}, {"bounds": [(0.2, 0.8), (0.0, 1.0)]}):
        with pytest.raises(ValueError, match="category"):
            separable.invert(model, 1.5, **wrong)


def test_the_two_ends_of_a_circle_are_one_solution() -> None:
    atoms = [Fourier(2, domain=(0.0, 360.0)), BSpline(4)]
    model = SeparableLayer(2, 2, atoms=atoms, interaction=CanonicalPolyadic(4), dtype=torch.float64)
    x = torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * torch.tensor([360.0, 1.0])
    angle = torch.deg2rad(x[:, 0])
    assert separable.fit(model, x, torch.stack([angle.cos(), angle.sin()], 1)).training < 1e-6
    for output, angles in ((0, [0.0]), (1, [0.0, 180.0])):
        found = separable.invert(model, 1.0 - output, outputs=[output], fixed={1: 0.5}, n_solutions=4)
        assert sorted((found.inputs[:, 0] % 359.99).round().tolist()) == angles
    apart = separable.invert(model, 1.0, bounds=[(90.0, 450.0), (0.5, 0.5)], outputs=[0], n_solutions=4)
    assert apart.inputs[:, 0].round().tolist() == [360.0]  # a box that begins elsewhere


def test_a_prior_counts_the_shorter_way_round_a_circle() -> None:
    model = SeparableLayer(
        1, 1, atoms=Fourier(2, domain=(0.0, 360.0)), interaction=CanonicalPolyadic(1), dtype=torch.float64
    )
    x = torch.linspace(0.0, 359.0, 360, dtype=torch.float64)
    assert separable.fit(model, x[:, None], torch.deg2rad(x - 350.0).cos()).training < 1e-6
    # cos(angle - 350) = 0.95 at 350 - 18.195 and 350 + 18.195 - 360.
    for mean, box, expected in (
        (359.0, (0.0, 360.0), 8.195),
        (0.0, (0.0, 360.0), 8.195),
        (1.0, (180.0, 540.0), 368.195),
    ):
        found = separable.invert(model, 0.95, [box], prior=(mean, 5.0), n_solutions=2)
        assert float(found.inputs[0, 0]) == pytest.approx(expected, abs=0.02)


def test_learned_coordinates_are_inverted_within_given_bounds() -> None:
    model = SeparableLayer(
        3,
        1,
        atoms=BSpline(4, 3),
        interaction=CanonicalPolyadic(rank=2),
        coordinates=LearnedCoordinates(3, 2, generator=torch.Generator().manual_seed(0)),
        generator=torch.Generator().manual_seed(0),
    )
    box = [(-1.0, 1.0)] * 3
    inside = model(torch.zeros(1, 3)).item()
    found = separable.invert(model, inside, bounds=box)
    assert found.reachable
    assert bool((found.inputs.abs() <= 1.0).all())
    assert torch.allclose(
        model.double()(found.inputs), torch.full((len(found), 1), inside, dtype=torch.float64), atol=1e-5
    )
    with pytest.raises(ValueError):
        separable.invert(model, inside)


def test_contradictions_are_refused(circle: SeparableLayer) -> None:
    for arguments in (
        {"target": [1.0, 2.0, 3.0]},
        {"target": float("nan")},
        {"target": 0.5, "outputs": [2]},
        {"target": 0.5, "bounds": [(1.0, 0.0), (0.0, 1.0)]},
        {"target": 0.5, "bounds": [(0.0, 1.0)]},
        {"target": 0.5, "fixed": {5: 0.0}},
        {"target": 0.5, "fixed": {0: 7.0}},
        {"target": 0.5, "band": -1.0},
        {"target": 0.5, "prior": (0.0, 0.0)},
        {"target": 0.5, "n_solutions": 0},
    ):
        with pytest.raises(ValueError):
            separable.invert(circle, **arguments)
