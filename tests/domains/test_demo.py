"""The demonstration's parts leave a report with pictures and checked numbers."""

import ast
import functools
import importlib
import re
import shlex
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from domains import command_line
from domains.turbulence import descent, training_data
from separable.training import Report, RunFolder

ROOT = Path(__file__).parents[2]
demo = pytest.importorskip("domains.demo")  # needs scikit-learn and matplotlib
tables = importlib.import_module("domains.table_comparison")
navigation = importlib.import_module("domains.navigation.demonstration")
turbulence = importlib.import_module("domains.turbulence.demonstration")
matplotlib.use("Agg")


def lines_of(block: str) -> list[str]:
    """Commands of a block, each on one line."""
    return re.sub(r"\\\n\s*", "", block).splitlines()


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
    row = tables.cross_validated(run, "diabetes", "ridge", lambda: Ridge(0.01), x, y, regression=True)
    assert 50 < row["error"] < 60
    assert run.metrics()[0]["model"] == "ridge"


def test_four_tables_are_compared_and_three_models_drawn(tmp_path, monkeypatch) -> None:
    from matplotlib.figure import Figure
    from sklearn.dummy import DummyClassifier, DummyRegressor

    class Drawn:
        def __init__(self, regression):
            self.model = (DummyRegressor if regression else DummyClassifier)()

        def fit(self, x, y):
            self.model.fit(x, y)

        def plot(self):
            return Figure()

    def dummies(name, regression):
        return {"mean": DummyRegressor if regression else lambda: DummyClassifier(strategy="prior")}

    monkeypatch.setattr(tables, "models", dummies)
    monkeypatch.setattr(tables, "ours", Drawn)
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    tables.compare_tables(run, report)
    errors = {row["table"]: row["error"] for row in run.metrics()}
    assert errors["digits"] == pytest.approx(np.log(10), rel=1e-3)  # ten digits, about as many of each
    assert set(errors) == {"diabetes", "borehole", "breast cancer", "digits"}
    page = report.html()
    assert page.count("<table>") == 4
    assert page.count("data:image/png") == 3


def test_pictures_carry_the_names_of_the_columns() -> None:
    pytest.importorskip("pandas")
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LinearRegression

    table = load_breast_cancer()  # its names are numpy's strings, which scikit-learn does not take as names
    fitted = LinearRegression().fit(tables.frame(table.data, table.feature_names), table.target)
    assert fitted.feature_names_in_.tolist() == table.feature_names.tolist()


def test_designed_cells_are_shown_with_the_solvers_values(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.design_microstructure(run, report, steps=40)
    logged = run.metrics()[0]
    rows = logged["designs"]
    assert len(rows) == 3 * logged["designs found"]
    refined = max(abs(row["refined, solved"] / row["wanted"] - 1) for row in rows)
    assert refined == pytest.approx(logged["greatest distance after refinement"], rel=1e-4)
    assert refined < 0.5 * logged["greatest distance from a target"]
    assert report.html().count("data:image/png") == 1


def test_a_forecast_of_a_flow_is_in_the_report(tmp_path, monkeypatch) -> None:
    animate = turbulence.animate_forecast

    def shorter(truth, members, *more):
        return animate(truth[:4], members[:, :3], *more)

    monkeypatch.setattr(turbulence, "animate_forecast", shorter)
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.forecast_flow(run, report, starts=1)
    (row,) = run.metrics()
    assert [forecast["lead"] for forecast in row["forecasts"]] == [1, 2, 5, 10]
    assert row["members"] == row["members scored"] == 8
    page = report.html()
    assert page.count("data:image/gif") == page.count("data:image/png") == 1


def test_flights_are_in_the_report(tmp_path, monkeypatch) -> None:
    evaluate = navigation.evaluate
    monkeypatch.setattr(navigation, "evaluate", lambda policy, options, _, seed: evaluate(policy, options, 4, seed))
    monkeypatch.setattr(demo, "flights", functools.partial(demo.flights, shown=2))
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.fly_waypoints(run, report, steps=1_024)
    (row,) = run.metrics()
    assert [training["policy"] for training in row["trainings"]] == ["SpanPolicy", "MlpPolicy"]
    page = report.html()
    assert page.count("data:image/gif") == page.count("data:image/png") == 1


def test_a_language_model_is_compared_with_counts(tmp_path) -> None:
    run, report = RunFolder(tmp_path / "run", {}, seed=0), Report("Demo", "")
    (tmp_path / "text.txt").write_text((ROOT / "RESULTS.md").read_text())
    demo.train_language_model(run, report, steps=6, source=str(tmp_path / "text.txt"))
    (row,) = run.metrics()
    uniform, single, pairs, model = (line["bits a byte"] for line in row["language"])
    assert uniform == 8 > single > pairs > 1
    assert pairs < model < uniform  # six steps teach less than a table of all pairs
    assert len(row["written"]) == report.html().count("<blockquote>") == 3


def test_questions_are_answered_in_the_direction_that_was_not_told(tmp_path) -> None:
    run, report = RunFolder(tmp_path, {}, seed=0), Report("Demo", "")
    demo.ask_in_reverse(run, report, steps=200)
    (row,) = run.metrics()
    told, reverse, stranger = row["questions"]
    assert told["answer"].startswith(told["true"])
    assert reverse["answer"].startswith(reverse["true"])
    assert stranger["answer"].startswith("unknown")
    assert row["accuracy on reversed questions"] > 0.8 > row["accuracy without relations"]
    assert (tmp_path / "people.jsonl").exists()


def blocks() -> list[tuple[str, str]]:
    """What the report shows as code, with the place where it is written."""
    found = []
    for module in (tables, demo):
        path = Path(module.__file__)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "code":
                found.append((f"{path.stem}:{node.lineno}", ast.literal_eval(node.args[0]).strip()))
    return found


PROGRAMS = [pytest.param(block, id=place) for place, block in blocks() if re.match(r"(from|import) ", block)]
COMMANDS = [line for _, block in blocks() if not re.match(r"(from|import) ", block) for line in lines_of(block)]
SMALLER = {
    "minutes=20": "steps=2, batch=2, spread_windows=0",
    "steps=1000": "steps=20",
    "steps=200": "steps=2",
    "steps=300": "steps=2",
    "40_000": "1_024",
    'CorpusConfig("docstrings"), vocabulary=1024': 'CorpusConfig("text.txt"), vocabulary=300',
}


def test_every_topic_has_a_program_and_its_commands() -> None:
    assert len(PROGRAMS) == 8
    assert all(len(program.values[0].splitlines()) <= 20 for program in PROGRAMS)
    assert len({command.split()[1] for command in COMMANDS}) == 7  # four domains and three examples


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_report_runs(program: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")  # as in a clone of the repository
    (tmp_path / "text.txt").write_text((ROOT / "RESULTS.md").read_text())
    for module, name in ((descent, "_LOOKS"), (training_data, "_STARTS")):
        monkeypatch.setattr(module, name, 1)  # at held-out samples, of which nothing is shown
    for shown, smaller in SMALLER.items():
        program = program.replace(shown, smaller)
    exec(compile(program, "report", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_report_is_understood(command: str, capsys) -> None:
    called, *words = shlex.split(command)
    if called == "python":
        assert (ROOT / words[0]).is_file()
    else:
        assert command_line.main([*words, "--print-config"]) == 0, capsys.readouterr().err
