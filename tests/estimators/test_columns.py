"""Categories, gaps and unknown values: the stated policy, in the model, in the layer, and in pictures."""

import numpy as np
import pandas as pd
import pytest
import torch

from separable import SeparableClassifier, SeparableRegressor
from separable.estimators.columns import Columns, weighted_median

CITIES = {"Oslo": -1.0, "Paris": 1.0, "Rome": 0.0}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random, rows = np.random.default_rng(0), 400
    return pd.DataFrame(
        {
            "age": random.normal(50, 12, rows),
            "city": random.choice(list(CITIES), rows),
            "member": random.random(rows) < 0.4,
            "kind": pd.Categorical(random.choice(list("abc"), rows)),
        }
    )


def target(table: pd.DataFrame) -> np.ndarray:
    bent = 0.002 * (table.age - 50) ** 2 + 0.08 * (table.age - 50) * table.member
    return (bent + table.city.map(CITIES)).to_numpy() + 0.1 * np.random.default_rng(1).normal(size=len(table))


@pytest.fixture(scope="module")
def gappy(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    random, y = np.random.default_rng(2), target(table)
    found = table.copy()
    absent = random.random(len(found)) < 0.2
    found.loc[absent, "age"] = np.nan
    found.loc[random.random(len(found)) < 0.1, "city"] = None
    y[absent] += 2.0  # that a value is missing says something
    return found, y


def test_kinds_are_recognised(table: pd.DataFrame) -> None:
    columns = Columns.of(table, np.ones(len(table)), list(table.columns), "auto")
    kinds = {column.name: column.categories for column in columns.features}
    assert kinds == {"age": None, "city": tuple(CITIES), "member": (False, True), "kind": ("a", "b", "c")}
    assert columns.tables == {1: 4, 2: 3, 3: 4}
    declared = Columns.of(np.array([[1.0, 5.0], [2.0, 6.0]]), np.ones(2), ["a", "b"], ["b"])
    assert declared.features[1].categories == (5.0, 6.0)


def test_numbers_that_pandas_calls_categories_are_categories() -> None:
    random = np.random.default_rng(0)
    levels = {30: 1.0, 10: -1.0, 20: 3.0}  # no order that a curve would follow
    codes = random.choice(list(levels), 400)
    table = pd.DataFrame({"code": pd.Categorical(codes), "x": random.random(400)})
    y = np.array([levels[code] for code in codes]) + 0.1 * random.normal(size=400)
    model = SeparableRegressor(order=1).fit(table, y)
    shape = model.shape_functions_["code"]
    assert shape.grid.tolist() == [10, 20, 30]
    assert np.abs(np.diff(shape.values) - [4.0, -2.0]).max() < 0.05
    assert np.abs(model.predict(table.assign(code=pd.Categorical([10] * 400))) + 1).max() < 0.1
    numbers = Columns.of(table, np.ones(400), list(table.columns), None)
    assert numbers.features[0].categories is None


def test_categories_are_effects(table: pd.DataFrame) -> None:
    y = target(table)
    model = SeparableRegressor().fit(table, y)
    assert model.feature_names_in_.tolist() == list(table.columns)
    shape = model.shape_functions_["city"]
    differences = shape.values - shape.values.mean() - np.array(list(CITIES.values()))
    assert np.abs(differences).max() < 0.05
    assert ("age", "member") in model.interaction_strengths_
    assert model.score(table, y) > 0.95


@pytest.mark.parametrize("order", [1, 2, None])
def test_gaps_are_effects_and_the_layer_knows_them(gappy, order) -> None:
    table, y = gappy
    model = SeparableRegressor(order=order, links=("identity",), effort=0.5).fit(table, y)
    assert model.columns_.names == ["age", "age is missing", "city", "member", "kind"]
    absent = table.age.isna()
    assert abs(np.mean(model.predict(table[absent]) - y[absent])) < 0.15
    encoded = model.encode(table)
    with torch.no_grad():
        values = model.layer_(torch.from_numpy(encoded))[:, 0].numpy()
    assert np.allclose(values, model.predict(table), atol=1e-8)
    if order is not None:
        smooth = model.model_.outputs(encoded)[:, 0] * model.scale_ + y.mean()
        assert np.allclose(values, smooth, atol=1e-8)
        # Where age is missing neither its function nor its pairs count: the number in the gap is not read.
        changed = encoded[absent].copy()
        changed[:, 0] = 30.0
        assert np.allclose(model.model_.outputs(changed), model.model_.outputs(encoded[absent]))
    assert model.shape_functions_["age"].missing is not None
    assert sum(model.interaction_strengths_.values()) == pytest.approx(1)


def test_unknown_categories_and_new_gaps_are_predicted(table: pd.DataFrame) -> None:
    model = SeparableRegressor(1).fit(table, target(table))
    fresh = table.head(4).copy()
    fresh["city"] = ["Atlantis", None, "Rome", "Oslo"]
    found = model.predict(fresh)
    assert np.isfinite(found).all()
    effects = dict(zip(CITIES, model.shape_functions_["city"].values, strict=True))
    as_rome = model.predict(fresh.assign(city="Rome"))
    # An unknown city is a city like the others: its effect is their plain mean.
    unknown = as_rome[0] - effects["Rome"] + np.mean(list(effects.values()))
    assert found[0] == pytest.approx(unknown, abs=1e-6)
    fresh.loc[fresh.index[0], "age"] = np.nan
    assert model.predict(fresh)[0] == model.predict(fresh.assign(age=table.age.median()))[0]


def test_objects_arrays_and_lists_of_rows() -> None:
    rows = [[1.0, "a"], [2.0, "b"], [3.0, None], [None, "a"], [5.0, "b"]]
    for table in (rows, np.array(rows, dtype=object)):
        model = SeparableClassifier().fit(table, ["u", "v", "u", "v", "u"])
        assert model.columns_.features[1].categories == ("a", "b")
        assert np.isfinite(model.predict_proba(table)).all()


def test_a_column_of_nothing_but_gaps() -> None:
    table = np.column_stack([np.full(30, np.nan), np.arange(30.0)])
    model = SeparableRegressor().fit(table, np.arange(30.0))
    assert model.score(table, np.arange(30.0)) > 0.99


def test_what_cannot_be_read_is_refused(table: pd.DataFrame) -> None:
    y = target(table)
    with pytest.raises(ValueError):
        SeparableRegressor().fit(table.assign(age=np.inf), y)
    with pytest.raises(TypeError):
        SeparableRegressor().fit(table.assign(age=[{}] * len(table)), y)
    with pytest.raises(TypeError):
        SeparableRegressor(1).fit(table, y).predict(table.assign(age="old"))


def test_medians_are_weighted() -> None:
    values, counts = np.array([3.0, 1.0, 2.0, 9.0]), np.array([2.0, 1.0, 3.0, 2.0])
    assert weighted_median(values, counts) == np.median(values.repeat(counts.astype(int)))


def test_the_picture_is_drawn(gappy, tmp_path) -> None:
    table, y = gappy
    for model in (
        SeparableRegressor(2).fit(table, y),
        SeparableClassifier().fit(table, pd.cut(y, 3, labels=list("abc")).astype(str)),
        SeparableRegressor(1).fit(np.zeros((5, 1)), np.zeros(5)),
    ):
        file = tmp_path / "picture.png"
        model.plot().savefig(file, dpi=40)
        assert file.stat().st_size > 1000
