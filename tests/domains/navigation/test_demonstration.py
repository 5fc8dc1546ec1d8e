"""The demonstration's flights and trainings, in small."""

from domains.navigation.demonstration import flights, trainings


def test_flights_are_flown_and_filmed(tmp_path):
    found = flights(tmp_path / "f.gif", episodes=5, shown=1)
    assert [row["episodes"] for row in found.values()] == ["5", "5"]
    assert (tmp_path / "f.gif").stat().st_size > 10_000


def test_two_trainings_of_equal_size_are_drawn():
    found, numbers, figure = trainings(steps=2_048)
    assert list(found) == ["SpanPolicy", "MlpPolicy"]
    ours, perceptron = (numbers[f"parameters of {name}"] for name in found)
    assert abs(ours - perceptron) < 0.1 * ours
    assert len(figure.axes[0].lines) == 2
