"""Symmetries of the flows: what the solver makes of a changed start is the change of what it makes of the start."""

import pytest
import torch

from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow, KuramotoSivashinsky, StochasticTurbulence
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import simulate
from domains.turbulence.symmetries import Symmetries, Turn, all_shifts, no_symmetries, symmetries_of

CASES = [
    (KolmogorovFlow(forcing_mode=4), Grid((32, 24)), 4),
    (KolmogorovFlow(forcing_mode=3), Grid((20, 16), (3.0, 2.0)), 4),
    (KolmogorovFlow(forcing_mode=4), Grid((20, 16)), 2),
    (DecayingTurbulence(), Grid((16, 16)), 8),
    (DecayingTurbulence(order=2, viscosity=1e-4), Grid((16, 24)), 4),
    (DecayingTurbulence(mean_flow=(0.3, 0.1)), Grid((16, 16)), 1),
    (KuramotoSivashinsky(), Grid((48,), (22.0,)), 2),
]


def solved(flow, grid, start):
    return simulate(flow, grid, start, [0.4], step=0.005).fields[:, 0]


@pytest.mark.parametrize(("flow", "grid", "turns"), CASES)
def test_the_solver_keeps_every_symmetry(flow, grid, turns):
    found = symmetries_of(flow, grid)
    assert len(found.turns) == turns
    start = grid.fields(grid.coefficients(flow.random_start(grid, [3])))
    later = solved(flow, grid, start)
    changed = [turn(start, [3 * stride for stride in found.strides]) for turn in found.turns]
    expected = torch.cat([turn(later, [3 * stride for stride in found.strides]) for turn in found.turns])
    torch.testing.assert_close(solved(flow, grid, torch.cat(changed)), expected, rtol=0, atol=1e-9)
    # The change is one: the symmetry is not the identity on this field.
    assert float((torch.cat(changed) - start).abs().amax()) > 0.1


def test_what_is_not_a_symmetry_is_told_apart_by_the_solver():
    flow, grid = KolmogorovFlow(forcing_mode=4), Grid((32, 24))
    start = grid.fields(grid.coefficients(flow.random_start(grid, [3])))
    for turn, moved in ((Turn((1, 1), (1, 0)), None), (Turn((-1, 1), (0, 0), -1), None), (Turn((1, 1), (4, 0)), None)):
        difference = solved(flow, grid, turn(start, moved)) - turn(solved(flow, grid, start), moved)
        assert float(difference.abs().max()) > 0.1


def test_random_draws_reach_the_whole_group_and_keep_a_window_together():
    symmetries = symmetries_of(KolmogorovFlow(forcing_mode=2), Grid((8, 4)))
    window = torch.randn(1, 2, 8, 4)
    generator = torch.Generator().manual_seed(0)
    drawn = symmetries(window.expand(600, -1, -1, -1), generator)
    # 4 shifts along x, 2 along y, 4 turns
    assert len({tuple(one.flatten().tolist()) for one in drawn}) == 32
    group = [turn(window[0], [4 * j, i]) for turn in symmetries.turns for j in range(2) for i in range(4)]
    assert all(any(torch.equal(one, element) for element in group) for one in drawn[:50])
    again = symmetries(window.expand(600, -1, -1, -1), torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_isotropic_and_declared():
    assert len(symmetries_of(StochasticTurbulence(), Grid((16, 16))).turns) == 8
    assert len(symmetries_of(StochasticTurbulence(), Grid((16, 16), (1.0, 2.0))).turns) == 4
    fields = torch.randn(4, 1, 6, 5)
    assert torch.equal(no_symmetries((6, 5))(fields, torch.Generator()), fields)
    moved = all_shifts((6, 5))(fields, torch.Generator().manual_seed(1))
    assert not torch.equal(moved, fields)
    torch.testing.assert_close(moved.flatten(1).sort(1).values, fields.flatten(1).sort(1).values)
    with pytest.raises(ValueError, match="fields"):
        Symmetries((6, 6), (1, 1), (Turn((1, 1), (0, 0)),))(fields, torch.Generator())
