"""What holds for the interface and for reading interactions back from plain data."""

import pytest

from separable import interactions
from separable.interactions import Interaction


def test_an_interaction_is_abstract():
    with pytest.raises(TypeError):
        Interaction()


@pytest.mark.parametrize("config", [{}, {"family": "Interaction"}, {"family": "Tucker", "rank": [2, -1]}])
def test_damaged_descriptions_are_refused(config):
    with pytest.raises(ValueError):
        interactions.from_config(config)
