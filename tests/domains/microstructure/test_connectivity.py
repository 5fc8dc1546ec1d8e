"""Periodic components and windings against a search voxel by voxel in many copies of the cell, and by hand."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.microstructure import connectivity
from domains.microstructure.connectivity import components, is_connected, largest_component, percolates, windings


def picture(*rows):
    """A cell from rows of characters: rows are axis 0, # is phase 1."""
    return torch.tensor([[float(c == "#") for c in row] for row in rows], dtype=torch.float64)


def search(cell, start, phase):
    """All (voxel, copy) reached from a voxel of copy zero, copies within 3 of it; the obvious slow way."""
    n, seen, queue = cell.shape, {(start, (0,) * cell.ndim)}, deque([(start, (0,) * cell.ndim)])
    while queue:
        voxel, copy = queue.popleft()
        for axis in range(cell.ndim):
            for step in (-1, 1):
                to, turn = list(voxel), list(copy)
                to[axis] += step
                turn[axis] += to[axis] // n[axis]
                to[axis] %= n[axis]
                state = (tuple(to), tuple(turn))
                if cell[state[0]] == phase and max(map(abs, turn)) <= 3 and state not in seen:
                    seen.add(state)
                    queue.append(state)
    return seen


def by_search(cell, phase):
    """Partition of the phase, and whether it percolates along each axis."""
    left = {tuple(int(i) for i in index) for index in np.argwhere(cell == phase)}
    parts, along = [], [False] * cell.ndim
    while left:
        start = min(left)
        reached = search(cell, start, phase)
        parts.append({voxel for voxel, _ in reached})
        left -= parts[-1]
        for voxel, copy in reached:
            if voxel == start:
                along = [known or turn != 0 for known, turn in zip(along, copy, strict=True)]
    return parts, along


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(3, 4), (5, 5), (6, 3), (2, 3, 3), (3, 3, 2)]), st.floats(0.3, 0.7))
def test_equals_a_search_through_copies_of_the_cell(seed, shape, share):
    cell = (np.random.default_rng(seed).random(shape) < share).astype(float)
    for phase in (0, 1):
        parts, along = by_search(cell, phase)
        labels, count = components(torch.from_numpy(cell), phase)
        assert count == len(parts)
        found = [{tuple(map(int, i)) for i in np.argwhere(labels.numpy() == k)} for k in range(1, count + 1)]
        assert sorted(map(sorted, found)) == sorted(map(sorted, parts))
        assert [len(part) for part in found] == sorted(map(len, parts), reverse=True)
        assert [percolates(torch.from_numpy(cell), axis, phase) for axis in range(len(shape))] == along
        assert is_connected(torch.from_numpy(cell), phase) == (len(parts) == 1)


def test_touching_both_faces_is_not_percolation():
    bumps = picture("##...", ".....", "...##")  # touch rows 0 and 2, not each other
    assert not percolates(bumps, 0)
    dead_ends = picture("#....", "#....", "..#..", "..#..")
    assert not percolates(dead_ends, 0)


def test_an_offset_that_does_not_come_back_is_not_percolation():
    spans = picture("#...", "##..", ".#..", ".#..")  # meets both faces, at columns that do not join
    assert percolates(spans, 0) is False
    joined = picture("##..", "##..", ".#..", ".#..")
    assert percolates(joined, 0) is True


def test_an_oblique_path_winds_along_both_axes():
    stairs = picture("##...", ".##..", "..##.", "...##", "#...#")
    assert windings(stairs) == [[(1, 1)]]
    assert percolates(stairs, 0)
    assert percolates(stairs, 1)
    assert is_connected(stairs)
    band = picture(*["##..", ".##.", "..##", "#..#"] * 2)
    assert windings(band) == [[(1, 2)]]


def test_a_path_that_needs_two_turns_to_come_back():
    # One bar twice round in axis 1 on its way once round axis 0.
    cell = torch.zeros(3, 6, 2, dtype=torch.float64)
    cell[:, 0, 0] = 1
    cell[0, :4, 0] = 1
    assert windings(cell) == [[(1, 0, 0)]]
    helix = torch.zeros(8, 4, dtype=torch.float64)
    for i in range(8):
        helix[i, i // 2] = helix[i, (i + 1) // 2 % 4] = 1
    assert windings(helix) == [[(1, 1)]]


def test_a_ring_within_the_cell_does_not_wind():
    ring = picture("......", ".###..", ".#.#..", ".###..", "......")
    assert windings(ring) == [[]]
    assert is_connected(ring)
    assert not is_connected(ring, 0)
    shifted = ring.roll((2, 3), (0, 1))
    assert windings(shifted) == [[]]
    assert components(shifted)[1] == 1


def test_every_roll_has_the_same_components():
    cell = (torch.rand(7, 6, 5, generator=torch.Generator().manual_seed(0)) < 0.35).double()
    sizes = components(cell)[0].flatten().bincount()
    for shift in ((1, 0, 0), (3, 2, 1), (6, 5, 4)):
        rolled = cell.roll(shift, (0, 1, 2))
        assert components(rolled)[0].flatten().bincount().equal(sizes)
        assert [percolates(rolled, k) for k in range(3)] == [percolates(cell, k) for k in range(3)]


def test_the_largest_component_stays():
    cell = picture("#..#.", "...#.", ".....", "##...")
    assert largest_component(cell).equal(cell.where(torch.arange(5) != 3, 0.0))
    pores = 1 - cell
    assert largest_component(pores, phase=0).equal(1 - largest_component(cell))
    assert largest_component(cell.float()).dtype == torch.float32


def test_full_and_empty_phases():
    full = torch.ones(3, 4, dtype=torch.float64)
    assert windings(full) == [[(0, 1), (1, 0)]]
    assert components(full, 0)[1] == 0
    assert not is_connected(full, 0)
    with pytest.raises(ValueError):
        largest_component(full, 0)


def test_refuses_what_is_no_cell():
    with pytest.raises(ValueError):
        components(torch.tensor([[0.0, 0.5]]))
    with pytest.raises(ValueError):
        components(torch.zeros(2, 2), phase=2)
    with pytest.raises(ValueError):
        connectivity.percolates(torch.zeros(2, 2), 2)
