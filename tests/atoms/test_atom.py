"""What holds for the interface and for reading atoms back from plain data."""

import numpy as np
import pytest

from separable import atoms
from separable.atoms import Atom, BSpline


def test_an_atom_is_abstract():
    with pytest.raises(TypeError):
        Atom()


def test_every_public_family_is_read_back():
    for name in atoms.__all__:
        family = getattr(atoms, name)
        if isinstance(family, type) and issubclass(family, Atom) and family is not Atom:
            atom = family(3) if name == "Table" else family()
            assert atoms.from_config(atom.config()) == atom


@pytest.mark.parametrize(
    "config", [{}, {"family": None}, {"family": "Atom"}, {"family": "BSpline", "knots": ["a", "b"]}]
)
def test_damaged_descriptions_are_refused(config):
    with pytest.raises(ValueError):
        atoms.from_config(config)


def test_lists_in_a_description_become_tuples():
    config = BSpline(knots=(0.0, 0.5, 1.0)).config()
    config = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    assert atoms.from_config(config) == BSpline(knots=(0.0, 0.5, 1.0))


def test_quadrature_integrates_polynomials_across_breakpoints():
    nodes, weights = BSpline(knots=(0.0, 0.1, 0.1, 1.0), degree=2).quadrature(4)
    assert len(nodes) == 8  # an empty piece has no nodes
    for power in range(8):
        np.testing.assert_allclose(float(weights @ nodes**power), 1 / (power + 1), rtol=1e-13)
