"""The worked examples of an atom and an interaction fulfil the contracts, and a layer of them is saved and loaded."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "adding"))
from cosine import Cosine
from neighbours import Neighbours
from test_cosine import TestCosine
from test_neighbours import TestNeighbours

from separable import SeparableLayer, atoms, interactions

__all__ = ["TestCosine", "TestNeighbours"]


def test_a_layer_of_registered_families_comes_back(tmp_path: Path) -> None:
    layer = SeparableLayer(3, 1, atoms=Cosine(terms=4), interaction=Neighbours(rank=2), dtype=torch.float64)
    layer.save(tmp_path / "law")
    x = torch.rand(5, 3, dtype=torch.float64)
    assert torch.equal(SeparableLayer.load(tmp_path / "law")(x), layer(x))


@pytest.mark.parametrize(("families", "taken"), [(atoms, atoms.Fourier), (interactions, interactions.Tucker)])
def test_a_name_that_is_taken_is_refused(families, taken) -> None:
    assert families.register(taken) is taken  # the same class again is no harm: modules are imported twice
    with pytest.raises(ValueError):
        families.register(type(taken.__name__, (taken,), {}))
    with pytest.raises(TypeError):
        families.register(int)
