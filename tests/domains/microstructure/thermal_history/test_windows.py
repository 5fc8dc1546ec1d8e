"""Windows against logarithms written out."""

import numpy as np
import pytest

from domains.microstructure import thermal_history as th


def test_windows_are_logarithms_of_seconds_and_lead_back() -> None:
    histogram = np.random.default_rng(1).gamma(2.0, 3.0, (60, 36))
    windows = th.Windows.of(histogram)
    z = windows(histogram)
    assert z.min() == pytest.approx(0)
    assert z.max() == pytest.approx(1)
    molten = histogram[:, th.EDGES[1:] > 1558].sum(1)  # ranges whose middle is above the solidus
    logs = np.log(molten + 0.1)
    np.testing.assert_allclose(z[:, 4], (logs - logs.min()) / np.ptp(logs))
    np.testing.assert_allclose(windows(windows.histogram(z)), z, atol=1e-9)
    with pytest.raises(ValueError):
        th.Windows.of(histogram[:, :30])
    with pytest.raises(ValueError):
        th.Windows.of(histogram, limits=(873.0, 874.0))
