"""Known coordinates: values written anew in numpy, slopes at a vector of length zero, and what is refused."""

import numpy as np
import pytest
import torch

from domains.navigation.coordinates import Coordinates, KnownCoordinates
from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Worlds

ALL = Coordinates(vectors=((0, 1), (4, 2, 3)), angles=(5, 0), between=(((0, 1), (3, 6)),))


def in_numpy(x):
    """The coordinates of `ALL`, row by row."""
    rows = []
    for row in x.astype(np.float64):
        found = list(row)
        for vector in (row[[0, 1]], row[[4, 2, 3]], row[[3, 6]] - row[[0, 1]]):
            length = np.sqrt(vector @ vector + 1e-6)
            found += [length, *(vector / length)]
        for angle in (row[5], row[0]):
            found += [np.cos(angle), np.sin(angle)]
        rows.append(found)
    return np.array(rows)


def test_coordinates_are_those_of_the_formula():
    x = np.random.default_rng(0).normal(size=(20, 7))
    known = KnownCoordinates(7, ALL)
    found = known(torch.from_numpy(x))
    np.testing.assert_allclose(found, in_numpy(x), rtol=1e-13)
    assert found.shape[1] == known.n_outputs == ALL.count(7) == len(ALL.names([f"e{i}" for i in range(7)]))


def test_names_tell_what_a_coordinate_is_made_of():
    names = Coordinates(vectors=((0, 1),), angles=(2,), between=(((0, 1), (1, 2)),)).names(["x", "y", "a"])
    assert names[:3] == ["x", "y", "a"]
    assert all("x" in names[i] or "y" in names[i] for i in (3, 4, 5))
    assert names[6:9] == ["length of y.. - x..", "direction of y - x", "direction of a - y"]
    assert names[-2:] == ["cos a", "sin a"]


def test_a_vector_without_a_length_has_no_direction_and_finite_slopes():
    known = KnownCoordinates(7, ALL)
    x = torch.zeros(2, 7, requires_grad=True)
    z = known(x)
    assert (z[:, 8:10] == 0).all()
    slopes = torch.autograd.grad(z.sum(), x)[0]
    assert torch.isfinite(slopes).all()
    assert torch.autograd.gradcheck(KnownCoordinates(7, ALL), torch.randn(3, 7, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize("dynamics", ["double_integrator", "unicycle", "quadrotor"])
def test_those_of_a_waypoint_world_are_distance_and_direction_of_two_waypoints(dynamics):
    options = WaypointOptions(dynamics=dynamics, waypoints=3)
    worlds, d = Worlds(options, 5), options.dimensions
    seen = torch.from_numpy(worlds.reset(seeds=list(range(5))))
    z = KnownCoordinates(seen.shape[1], Coordinates.of_waypoints(options))(seen)[:, seen.shape[1] :].double().numpy()
    np.testing.assert_allclose(z[:, 0] * options.arena, worlds.distance, rtol=1e-3)
    beyond = np.linalg.norm(worlds.course[1] - worlds.position, axis=0)
    np.testing.assert_allclose(z[:, 1 + d] * options.arena, beyond, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(z[:, 1 : 1 + d], axis=1), 1.0, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vectors": ((0,),)},
        {"vectors": ((0, -1),)},
        {"angles": (-2,)},
        {"between": (((0, 1), (2,)),)},
        {"between": (((0,), (2,)),)},
        {"between": (((0, 1), (2, -3)),)},
        {"vectors": (0, 1)},
        {"vectors": 3},
        {"vectors": ("01",)},
        {"vectors": ((0.0, 1.0),)},
        {"angles": 6},
        {"angles": ((6,),)},
        {"between": ((0, 1), (2, 3))},
        {"between": (((0, 1), (2, 3), (4, 5)),)},
    ],
)
def test_coordinates_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        Coordinates(**wrong)


@pytest.mark.parametrize("beyond", [{"vectors": ((0, 7),)}, {"angles": (7,)}, {"between": (((0, 1), (2, 9)),)}])
def test_entries_beyond_the_observation_are_refused(beyond):
    with pytest.raises(ValueError):
        KnownCoordinates(7, Coordinates(**beyond))
