"""Named properties against the definitions of the engineering constants."""

import numpy as np
import pytest
import torch

from domains.microstructure.elasticity import Material
from domains.microstructure.properties import property_names, read_properties


def orthotropic() -> tuple[np.ndarray, dict[str, float]]:
    """A stiffness assembled from engineering constants: 1/E on the compliance's diagonal, -nu/E beside it."""
    young, shear = (3.0, 2.0, 1.0), {"yz": 0.4, "xz": 0.5, "xy": 0.6}
    compliance = np.diag([1 / e for e in young] + [1 / g for g in shear.values()])
    for (i, j), ratio in {(0, 1): 0.2, (0, 2): 0.1, (1, 2): 0.25}.items():
        compliance[i, j] = compliance[j, i] = -ratio / young[i]
    named = {f"youngs_{a}": e for a, e in zip("xyz", young, strict=True)}
    return np.linalg.inv(compliance), named | {f"shear_{a}": g for a, g in shear.items()}


def test_engineering_constants_of_an_orthotropic_material():
    stiffness, named = orthotropic()
    values = read_properties({"stiffness": torch.from_numpy(stiffness)[None]}, list(named))[0]
    assert np.allclose(values.numpy(), list(named.values()), rtol=1e-12)


def test_diagonal_entries_and_the_volume_fraction():
    columns = {
        "conductivity": torch.arange(8.0).reshape(2, 2, 2),
        "volume_fraction": torch.tensor([0.25, 0.5]),
    }
    values = read_properties(columns, ["conductivity_yy", "volume_fraction", "conductivity_xx"])
    assert values.tolist() == [[3.0, 0.25, 0.0], [7.0, 0.5, 4.0]]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_listed_name_can_be_read(dimensions):
    columns = {
        "stiffness": torch.from_numpy(Material(1.0, 0.3).stiffness(dimensions))[None],
        "conductivity": torch.eye(dimensions)[None],
        "permeability": torch.eye(dimensions)[None],
        "volume_fraction": torch.tensor([0.5]),
    }
    names = property_names(list(columns), dimensions)
    assert len(names) == len(set(names)) == 3 * dimensions + dimensions * (dimensions - 1) // 2 + 1
    assert read_properties(columns, names).shape == (1, len(names))


@pytest.mark.parametrize("name", ["conductivity_zz", "conductivity_xy", "youngs_q", "shear_xx", "permeability_xx", ""])
def test_unknown_names_are_refused(name):
    columns = {"conductivity": torch.eye(2)[None], "stiffness": torch.eye(3)[None]}
    with pytest.raises(ValueError):
        read_properties(columns, [name])
