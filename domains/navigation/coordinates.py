"""Physically chosen coordinates: what a vehicle would steer by, computed from entries of the observation.

    vector v          ->  |v|,  v / |v|            a distance and a direction (cos, sin of the bearing in the plane)
    angle a           ->  cos a, sin a             the first periodic atoms
    points p and q    ->  |q - p|,  (q - p) / |q - p|

They follow the observation's own entries, which stay.  Near a waypoint the vector is short and its direction decides;
a network has to learn that division from data, and this is the one thing of which a policy on raw vectors knows little.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from domains.navigation.options import WaypointOptions

_SHORTEST = 1e-3  # a vector shorter than this has no direction: it fades to 0


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """Which entries of the flattened observation belong together.

    Args:
        vectors: Groups of entries that are components of one vector, such as ``((0, 1), (2, 3))``.
        angles: Entries that are angles, in rad.
        between: Pairs of groups, the entries of one point and those of another: the vector from the first to the
            second is read.

    Raises:
        ValueError: If a field is not made of groups of whole numbers, an entry is negative, a vector has fewer than two
            entries, or two points differ in length.

    Example:
        >>> Coordinates(vectors=((0, 1),), angles=(2,)).count(3)
        8
    """

    vectors: tuple[tuple[int, ...], ...] = ()
    angles: tuple[int, ...] = ()
    between: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        pairs = isinstance(self.between, Collection) and all(_are_groups(p) and len(p) == 2 for p in self.between)
        for name, made, expected in (
            ("vectors", _are_groups(self.vectors), "groups of entries, such as ((0, 1), (2, 3))"),
            ("angles", _is_group(self.angles), "entries, such as (2,)"),
            ("between", pairs, "pairs of groups of entries, such as (((0, 1), (2, 3)),)"),
        ):
            if not made:
                raise ValueError(f"Coordinates: {name}: expected {expected}; got {getattr(self, name)!r}")
        for vector in self.vectors:
            if len(vector) < 2:
                raise ValueError(f"Coordinates: vectors have two or more entries; got {vector!r}")
        for start, end in self.between:
            if len(start) != len(end) or len(start) < 2:
                raise ValueError(
                    f"Coordinates: between holds pairs of points with equally many entries, two or more; "
                    f"got {start!r} and {end!r}"
                )
        if any(i < 0 for i in self.entries()):
            raise ValueError(f"Coordinates: entries are at least 0; got {min(self.entries())}")

    def entries(self) -> list[int]:
        """Every entry that is named."""
        points = [point for pair in self.between for point in pair]
        return [*(i for group in (*self.vectors, *points) for i in group), *self.angles]

    def count(self, n_inputs: int) -> int:
        """Number of coordinates for ``n_inputs`` entries, which are kept.

        Raises:
            ValueError: If an entry is not one of the observation's.
        """
        if beyond := [i for i in self.entries() if i >= n_inputs]:
            raise ValueError(f"Coordinates: the observation has entries 0 to {n_inputs - 1}; got {beyond[0]}")
        lengths = [len(v) for v in self.vectors] + [len(start) for start, _ in self.between]
        return n_inputs + sum(n + 1 for n in lengths) + 2 * len(self.angles)

    def names(self, inputs: Sequence[str]) -> list[str]:
        """A name for each coordinate, from names of the observation's entries.

        Example:
            >>> Coordinates(vectors=((0, 1),)).names(["next x", "next y"])[2:]
            ['length of next', 'direction of next x', 'direction of next y']
        """
        found = list(inputs)
        for label, group in self._groups(inputs):
            found += [f"length of {label}", *(f"direction of {name}" for name in group)]
        for i in self.angles:
            found += [f"cos {inputs[i]}", f"sin {inputs[i]}"]
        return found

    def _groups(self, inputs: Sequence[str]) -> list[tuple[str, list[str]]]:
        """A label and the names of the components of every vector."""
        groups = [(_shared([inputs[i] for i in v]), [inputs[i] for i in v]) for v in self.vectors]
        for start, end in self.between:
            label = f"{_shared([inputs[i] for i in end])} - {_shared([inputs[i] for i in start])}"
            groups.append((label, [f"{inputs[j]} - {inputs[i]}" for i, j in zip(start, end, strict=True)]))
        return groups

    @classmethod
    def of_waypoints(cls, options: WaypointOptions) -> Coordinates:
        """Those of a waypoint world: distance and direction to the next two waypoints.

        Example:
            >>> from domains.navigation.options import WaypointOptions
            >>> Coordinates.of_waypoints(WaypointOptions()).vectors
            ((0, 1), (2, 3))
        """
        d = options.dimensions
        return cls(vectors=(tuple(range(d)), tuple(range(d, 2 * d))))


def _is_group(entries: object) -> bool:
    return isinstance(entries, Collection) and all(isinstance(i, Integral) for i in entries)


def _are_groups(groups: object) -> bool:
    return isinstance(groups, Collection) and all(_is_group(group) for group in groups)


def _shared(names: Sequence[str]) -> str:
    """What names begin with alike, or the first one's with dots."""
    first, last = min(names), max(names)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n].rstrip(" (_[") or f"{names[0]}.."


class KnownCoordinates(nn.Module):
    """Appends the chosen coordinates to the entries ``(B, F)`` of observations.

    Example:
        >>> import torch
        >>> known = KnownCoordinates(3, Coordinates(vectors=((0, 1),)))
        >>> [round(value, 3) for value in known(torch.tensor([[3.0, 4.0, 7.0]]))[0].tolist()]
        [3.0, 4.0, 7.0, 5.0, 0.6, 0.8]
    """

    def __init__(self, n_inputs: int, coordinates: Coordinates) -> None:
        super().__init__()
        self.chosen = coordinates
        self.n_inputs, self.n_outputs = n_inputs, coordinates.count(n_inputs)
        # Vectors that follow each other and are equally long are read at once: (where each ends, where it starts).
        vectors: list[tuple[tuple[int, ...], tuple[int, ...]]] = [(v, ()) for v in coordinates.vectors]
        vectors += [(end, start) for start, end in coordinates.between]
        runs = itertools.groupby(vectors, lambda vector: (len(vector[0]), len(vector[1])))
        self.runs = 0
        for self.runs, (_, run) in enumerate(runs, 1):
            for name, entries in zip(("ends", "starts"), zip(*run, strict=True), strict=True):
                self.register_buffer(f"{name}_{self.runs - 1}", torch.tensor(entries).long(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Coordinates ``(B, D)``, the entries first."""
        return torch.cat([x, *self.appended(x)], 1)

    def appended(self, x: Tensor) -> list[Tensor]:
        """What follows the entries, in parts ``(B, ..)``."""
        parts = []
        for run in range(self.runs):
            starts = self.get_buffer(f"starts_{run}")
            vectors = x[:, self.get_buffer(f"ends_{run}")]
            if starts.numel():
                vectors = vectors - x[:, starts]
            # Rounded off at zero, so that it and its slope are finite there.
            lengths = torch.sqrt(vectors.square().sum(2, keepdim=True) + _SHORTEST**2)
            parts.append(torch.cat([lengths, vectors / lengths], 2).flatten(1))
        if self.chosen.angles:
            angles = x[:, list(self.chosen.angles)]
            parts.append(torch.stack([torch.cos(angles), torch.sin(angles)], 2).flatten(1))
        return parts
