"""The demonstration's parts leave a report with pictures and checked numbers."""

import matplotlib
import pytest

from separable.training import Report, RunFolder

demo = pytest.importorskip("domains.demo")  # needs scikit-learn and matplotlib
matplotlib.use("Agg")


def test_inversion_and_equation_are_shown_with_their_checks(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.invert_borehole(run, report)
    demo.solve_equation(run, report)
    inversion, equation = run.metrics()
    assert inversion["designs"] == 8
    assert all(abs(value - inversion["inversion"]) < 0.1 for value in inversion["achieved"])
    assert equation["worst relative error against finite differences"] < 0.01
    assert report.html().count("data:image/png") == 2


def test_a_table_is_compared_on_the_same_folds(tmp_path) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    run = RunFolder(tmp_path, {}, seed=0)
    x, y = load_diabetes(return_X_y=True)
    row = demo.cross_validated(run, "diabetes", "ridge", lambda: Ridge(0.01), x, y, regression=True)
    assert 50 < row["error"] < 60
    assert run.metrics()[0]["model"] == "ridge"


def test_pictures_carry_the_names_of_the_columns() -> None:
    pytest.importorskip("pandas")
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LinearRegression

    table = load_breast_cancer()  # its names are numpy's strings, which scikit-learn does not take as names
    fitted = LinearRegression().fit(demo.frame(table.data, table.feature_names), table.target)
    assert fitted.feature_names_in_.tolist() == table.feature_names.tolist()


def test_designed_cells_are_shown_with_the_solvers_values(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.design_microstructure(run, report, steps=100)
    logged = run.metrics()[0]
    rows = logged["designs"]
    assert len(rows) == 3 * logged["designs found"]
    refined = max(abs(row["refined, solved"] / row["wanted"] - 1) for row in rows)
    assert refined == pytest.approx(logged["greatest distance after refinement"], rel=1e-4)
    assert refined < 0.5 * logged["greatest distance from a target"]
    assert report.html().count("data:image/png") == 1


def test_a_forecast_of_a_flow_is_in_the_report(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.forecast_flow(run, report, steps=20)
    (row,) = run.metrics()
    assert [forecast["lead"] for forecast in row["forecasts"]] == [1, 2, 5, 10]
    page = report.html()
    assert page.count("data:image/gif") == page.count("data:image/png") == 1


def test_flights_are_in_the_report(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.fly_waypoints(run, report, steps=2_048)
    (row,) = run.metrics()
    assert [training["policy"] for training in row["trainings"]] == ["SpanPolicy", "MlpPolicy"]
    page = report.html()
    assert page.count("data:image/gif") == page.count("data:image/png") == 1
