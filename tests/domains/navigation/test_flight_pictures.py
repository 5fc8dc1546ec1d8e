"""Pictures of flights show what was flown."""

import numpy as np
import pytest
from PIL import Image

from domains.navigation.evaluation import fly
from domains.navigation.flight_pictures import draw_flights, film
from domains.navigation.saved import load_baseline
from tests.domains.films import frames_of


@pytest.fixture(scope="module")
def model_and_options():
    model, config = load_baseline("waypoints2d")
    return model, config.options


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_panel_for_each_flight_with_its_path_and_waypoints(model_and_options, count):
    flights = fly(*model_and_options, 5, seed=11)
    figure = draw_flights(flights, count)
    panels = figure.axes[:-1]
    assert len(panels) == count
    for i, panel in enumerate(panels):
        np.testing.assert_allclose(panel.collections[0].get_offsets(), flights.paths[i])
        assert [text.get_text() for text in panel.texts] == ["1", "2", "3", "4"]
        np.testing.assert_allclose([patch.center for patch in panel.patches], flights.courses[i])
        assert f"{flights.time[i]:.1f} s" in panel.get_title()
    with pytest.raises(ValueError):
        draw_flights(flights, 0)


def test_in_space_each_flight_has_two_views():
    model, config = load_baseline("waypoints3d")
    flights = fly(model, config.options, 2, seed=1)
    above, _, side, _ = draw_flights(flights).axes[:4]
    np.testing.assert_allclose(above.collections[0].get_offsets(), flights.paths[0][:, [0, 1]])
    np.testing.assert_allclose(side.collections[0].get_offsets(), flights.paths[0][:, [0, 2]])


def test_obstacles_are_drawn(model_and_options):
    _, options = model_and_options
    flights = fly(
        type("Still", (), {"predict": staticmethod(_still)})(), options.changed(obstacles=3, time_limit=1.0), 1
    )
    panel = draw_flights(flights).axes[0]
    assert len(panel.patches) == 4 + 3
    assert "out of time, 1.0 s" in panel.get_title()


def _still(observation, deterministic=False):
    return np.zeros((len(observation), 2)), None


def test_a_film_shows_the_episodes_of_an_evaluation(model_and_options, tmp_path):
    model, options = model_and_options
    options = options.changed(time_limit=2.0)
    flights = film(model, options, tmp_path / "a.gif", episodes=5, seed=3, every=8)
    np.testing.assert_array_equal(flights.returned, fly(model, options, 5, seed=3).returned)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (4 * 160, 2 * 160)
        assert picture.n_frames == 40 // 8 + 1
        assert picture.info["duration"] == 400
        first = np.asarray(picture.convert("L"), float)
        picture.seek(picture.n_frames - 1)
        moved = np.abs(np.asarray(picture.convert("L"), float) - first)
    panels = [moved[160 * (i // 4) : 160 * (i // 4 + 1), 160 * (i % 4) : 160 * (i % 4 + 1)].max() for i in range(5)]
    assert min(panels) > 50
    for wrong in ({"path": "a.png"}, {"episodes": 17}, {"episodes": 0}, {"every": 0}):
        path = tmp_path / wrong.pop("path", "b.gif")
        with pytest.raises(ValueError):
            film(model, options, path, **wrong)
    pytest.importorskip("imageio_ffmpeg")
    film(model, options, tmp_path / "a.mp4", episodes=5, seed=3, every=8)
    frames = frames_of(tmp_path / "a.mp4")
    assert len(frames) == 40 // 8 + 1
    assert np.abs(frames[0].mean(-1) - first).mean() < 12
