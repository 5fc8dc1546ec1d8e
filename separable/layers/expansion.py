"""From coordinates to factor values: the atoms of D coordinates times their coefficients.

Coordinates whose atoms are the same family up to their domain, and whose factor functions are equally many, form a
*group*: their atoms are evaluated together on the unit interval and their coefficients are one tensor ``(D_g, K, Q)``.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.atoms import Atom, BSpline
from separable.layers.spline_sums import spline_sums


@dataclasses.dataclass(frozen=True)
class Group:
    """Coordinates that are evaluated together.

    Args:
        members: Indices of the coordinates, increasing.
        atom: The family they share, on the domain of the only member or, for several domains, on (0, 1).
        domains: One domain for each member, or None where ``atom`` already has theirs.
        width: Number Q of factor functions of each.
    """

    members: tuple[int, ...]
    atom: Atom
    domains: tuple[tuple[float, float], ...] | None
    width: int

    def values(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        """Atom values ``(..., D_g, K)`` at the members' coordinates ``x (..., D_g)``."""
        if self.domains is None:
            return self.atom(x, derivative, parameters)
        if x.dtype in (torch.float16, torch.bfloat16):  # domains may not be representable
            return self.values(x.float(), derivative, parameters).to(x.dtype)
        x, lengths = self._in_unit(x)
        values = self.atom(x, derivative, parameters)
        return values / (lengths**derivative)[:, None] if derivative else values

    def sums(self, x: Tensor, coefficients: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        """Sum over the members of their factor values ``(..., Q)``, for coefficients ``(D_g, K, Q)``."""
        if isinstance(self.atom, BSpline) and x.dtype in (torch.float32, torch.float64):
            return spline_sums(self.atom, x if self.domains is None else self._in_unit(x)[0], coefficients)
        return self.values(x, 0, parameters).flatten(-2) @ coefficients.flatten(0, 1)

    def _in_unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Every member's coordinate on (0, 1), and the lengths ``(D_g,)`` of their domains."""
        lower, upper = x.new_tensor(self.domains).unbind(-1)
        return (x - lower) / (upper - lower), upper - lower


def group_coordinates(atoms: Sequence[Atom], widths: Sequence[int]) -> list[Group]:
    """Gather the coordinates into groups, in the order in which each group's first member appears."""
    gathered: dict[tuple[Atom, int, int | None], list[int]] = {}
    for j, (atom, width) in enumerate(zip(atoms, widths, strict=True)):
        # An atom that refuses coordinates must see them in their own unit, to name the offender.
        own = atom.learned or atom.discrete or atom.outside == "error"
        shared = atom if own else atom.rescaled((0.0, 1.0))
        alone = j if atom.learned else None  # functions with weights of their own are not shared
        gathered.setdefault((shared, width, alone), []).append(j)
    groups = []
    for (shared, width, _), members in gathered.items():
        distinct = {atoms[j].domain for j in members}
        if len(distinct) == 1:
            groups.append(Group(tuple(members), atoms[members[0]], None, width))
        else:
            groups.append(Group(tuple(members), shared, tuple(atoms[j].domain for j in members), width))
    return groups


class Expansion(nn.Module):
    """The factor functions ``p_j = B(x_j) C_j`` of every coordinate, with their coefficients as parameters.

    Args:
        atoms: One atom for each of the D coordinates.
        widths: Numbers Q_j of factor functions.

    Attributes:
        coefficients: One tensor ``(D_g, K, Q)`` for each group.
        atom_parameters: Parameters of atoms that are learned, in the order of the groups.
    """

    def __init__(self, atoms: Sequence[Atom], widths: Sequence[int]) -> None:
        super().__init__()
        self.atoms, self.widths = tuple(atoms), tuple(widths)
        self.groups = group_coordinates(self.atoms, self.widths)
        self._place = {j: (g, i) for g, group in enumerate(self.groups) for i, j in enumerate(group.members)}
        self.coefficients = nn.ParameterList(
            torch.zeros(len(group.members), group.atom.size, group.width) for group in self.groups
        )
        self.atom_parameters = nn.ModuleList(nn.ParameterList() for _ in self.groups)

    def initialise(self, means: Sequence[Tensor], spreads: Sequence[float], generator: torch.Generator | None) -> None:
        """Draw coefficients so that factor function q of coordinate j is near ``means[j][q]``.

        Args:
            means: Mean values ``(Q_j,)``, float64.
            spreads: Standard deviation of the factor functions about their means, on average over the domain.
            generator: Source of random numbers.
        """
        for parameters, group in zip(self.atom_parameters, self.groups, strict=True):
            assert isinstance(parameters, nn.ParameterList)
            for value in group.atom.initial_parameters(generator):
                parameters.append(nn.Parameter(value.to(self.coefficients[0])))
        with torch.no_grad():
            for j, value in enumerate(self.start_values(means, spreads, generator)):
                self.coefficient(j).copy_(value)

    def start_values(
        self, means: Sequence[Tensor], spreads: Sequence[float], generator: torch.Generator | None
    ) -> list[Tensor]:
        """The coefficients that `initialise` draws, ``(K_j, Q_j)`` float64 for each coordinate; for any Q_j."""
        # Coefficients of variance one give a function of variance sum_k B_k(x)^2, which depends on the family.
        powers = [
            float(g.atom.gram(parameters=self.parameters_of(g.members[0])).trace()) / g.atom.measure()
            for g in self.groups
        ]
        ones, values = [g.atom.ones()[:, None] for g in self.groups], []
        for j, (atom, mean, spread) in enumerate(zip(self.atoms, means, spreads, strict=True)):
            noise = torch.randn(atom.size, len(mean), dtype=torch.float64, generator=generator)
            g, _ = self._place[j]
            values.append(ones[g] * mean + spread / powers[g] ** 0.5 * noise)
        return values

    def coefficient(self, j: int) -> Tensor:
        """Coefficients ``C_j (K_j, Q_j)`` of coordinate j, a view of the parameters."""
        g, i = self._place[j]
        coefficients: Tensor = self.coefficients[g][i]
        return coefficients

    def parameters_of(self, j: int) -> tuple[Tensor, ...]:
        """Parameters of the atom of coordinate j; empty for fixed families."""
        # One by one: torch.compile of torch 2.9 does not follow tuple() of a ParameterList.
        return tuple(parameter for parameter in self.atom_parameters[self._place[j][0]])  # type: ignore[attr-defined]

    def place_of(self, parameter: Tensor) -> tuple[int, int]:
        """The coordinate whose atom owns a parameter, and the parameter's position among that atom's own."""
        for j in range(len(self.atoms)):
            for position, own in enumerate(self.parameters_of(j)):
                if own is parameter:
                    return j, position
        raise ValueError("Expansion.place_of: no atom owns this parameter")

    def basis(self, z: Tensor, j: int, derivative: int = 0) -> Tensor:
        """Atom values ``(..., K_j)`` of coordinate j at ``z (...)``."""
        return self.atoms[j](z, derivative, self.parameters_of(j))

    def factor(self, z: Tensor, j: int, derivative: int = 0) -> Tensor:
        """Factor values ``(..., Q_j)`` of coordinate j at ``z (...)``."""
        values: Tensor = self.basis(z, j, derivative) @ self.coefficient(j)
        return values

    def factors(self, z: Tensor, derivative: int = 0) -> Tensor | list[Tensor]:
        """Factor values at ``z (..., D)``: one tensor ``(..., D, Q)`` if there is one group, else a list of D.

        Slopes along discrete coordinates are zero.
        """
        values = [self._group_factors(g, self._members(z, g), derivative) for g in range(len(self.groups))]
        if len(values) == 1:
            return values[0]
        return [values[g][..., i, :] for g, i in (self._place[j] for j in range(len(self.atoms)))]

    def _members(self, z: Tensor, g: int) -> Tensor:
        members = self.groups[g].members
        return z if len(members) == len(self.atoms) else z[..., list(members)]

    def _group_factors(self, g: int, x: Tensor, derivative: int) -> Tensor:
        group = self.groups[g]
        if derivative and group.atom.discrete:
            return x.new_zeros(*x.shape, group.width)
        values = group.values(x, derivative, self.parameters_of(group.members[0]))
        return torch.einsum("...dk,dkq->...dq", values, self.coefficients[g])

    def sums(self, z: Tensor) -> Tensor:
        """Sum over coordinates of the factor values, ``(..., Q)``, without forming them."""
        total: Tensor | None = None
        for g, group in enumerate(self.groups):
            part = group.sums(self._members(z, g), self.coefficients[g], self.parameters_of(group.members[0]))
            total = part if total is None else total + part
        assert total is not None
        return total
