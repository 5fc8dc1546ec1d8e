"""A scanned battery electrode: tortuosity factors of its pores as taufactor has them, in the time and memory stated."""

from pathlib import Path

import numpy as np
import pytest

from domains.microstructure.tortuosity import tortuosity

IMAGE = Path(__file__).parents[3] / "shared" / "data" / "microstructure" / "taufactor_electrode.tiff"
PORES = 0  # of the labels 0, 85 and 170


@pytest.fixture(scope="module")
def electrode() -> np.ndarray:
    tifffile = pytest.importorskip("tifffile", reason="reading the image takes tifffile")
    if not IMAGE.exists():
        pytest.skip(f"the image is not there: {IMAGE}")
    return np.asarray(tifffile.imread(IMAGE))


@pytest.mark.validation
def test_the_image_is_the_one_that_was_measured(electrode: np.ndarray) -> None:
    assert electrode.shape == (256, 256, 256)
    assert np.mean(electrode == PORES) == pytest.approx(0.4499, abs=5e-5)


@pytest.mark.validation
@pytest.mark.parametrize(("axis", "published"), [(0, 2.0772), (1, 2.0766)])
def test_tortuosity_factors_are_those_of_taufactor(electrode: np.ndarray, axis: int, published: float) -> None:
    found = tortuosity(electrode, phase=PORES, axis=axis)
    assert found.factor == pytest.approx(published, rel=0.01)
