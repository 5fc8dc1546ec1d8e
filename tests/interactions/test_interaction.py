"""What holds for the interface and for reading interactions back from plain data."""

import json

import numpy as np
import pytest

from separable import interactions
from separable.interactions import CanonicalPolyadic, Interaction, TensorTrain, Tucker


def test_an_interaction_is_abstract():
    with pytest.raises(TypeError):
        Interaction()


@pytest.mark.parametrize(
    ("numpy", "plain"),
    [
        (CanonicalPolyadic(rank=np.int64(3), order=np.int32(2)), CanonicalPolyadic(rank=3, order=2)),
        (TensorTrain(rank=np.int64(3)), TensorTrain(rank=3)),
        (Tucker(rank=np.int64(3)), Tucker(rank=3)),
        (Tucker(rank=np.array([2, 3])), Tucker(rank=(2, 3))),
    ],
)
def test_numpy_integers_become_plain_ones(numpy, plain):
    assert numpy == plain
    assert json.loads(json.dumps(numpy.config())) == json.loads(json.dumps(plain.config()))


@pytest.mark.parametrize("config", [{}, {"family": "Interaction"}, {"family": "Tucker", "rank": [2, -1]}])
def test_damaged_descriptions_are_refused(config):
    with pytest.raises(ValueError):
        interactions.from_config(config)
