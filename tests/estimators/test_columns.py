"""Categories, gaps and unknown values: the stated policy, in the model, in the layer, and in pictures."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student

from separable import SeparableClassifier, SeparableRegressor
from separable.estimators import columns as column_policy
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


def test_intervals_and_dates_are_categories() -> None:
    x = np.random.default_rng(0).random((300, 2))
    bins = pd.qcut(x[:, 1], 3)
    table = pd.DataFrame({"a": x[:, 0], "b": bins})
    model = SeparableRegressor(1).fit(table, x[:, 0] + 2.0 * bins.codes)
    assert model.score(table, x[:, 0] + 2.0 * bins.codes) > 0.9999
    assert list(model.shape_functions_["b"].grid) == list(bins.categories)
    table["b"] = pd.Categorical(pd.to_datetime(["2020-01-01", "2019-01-01", "2021-01-01"] * 100))
    assert list(SeparableRegressor(1).fit(table, x[:, 0]).shape_functions_["b"].grid) == list(table["b"].cat.categories)


@pytest.mark.parametrize("beside", ["bool", "boolean", "Int64", "Float64"])
@pytest.mark.parametrize("estimator", [SeparableRegressor, SeparableClassifier])
def test_pandas_categories_stand_beside_its_other_dtypes(beside, estimator) -> None:
    random = np.random.default_rng(0)
    words, other = random.choice(list("uvw"), 80), pd.Series(random.integers(0, 2, 80))
    y = (words == "v") ^ (other == 1)
    table = pd.DataFrame({"word": pd.Categorical(words), "other": other.astype(beside)})
    model = estimator(2).fit(table, y)
    assert model.score(table, y) > 0.99
    assert np.array_equal(model.predict(table), model.predict(table.assign(word=table.word.astype(str))))


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


def grouped(seed: int, groups: int = 30, rows: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of groups whose levels have a deviation of 10, with noise of 1; the table, targets and group of each."""
    random = np.random.default_rng(seed)
    place = np.repeat(np.arange(groups), rows)
    y = random.normal(0, 10, groups)[place] + random.normal(size=len(place))
    return np.array([[f"group {k}"] for k in place], dtype=object), y, place


NEW = np.array([["another group"]], dtype=object)


def test_intervals_of_an_unseen_category_are_those_of_the_analysis_of_variance() -> None:
    table, y, place = grouped(0)
    found = np.diff(SeparableRegressor(1).fit(table, y).predict_interval(NEW))[0, 0] / 2
    levels = np.array([y[place == k].mean() for k in range(30)])
    noise = np.sum((y - levels[place]) ** 2) / (len(y) - 30)
    between = levels.var(ddof=1) - noise / 20  # restricted maximum likelihood, where groups are of one size
    quantile = student.ppf(0.975, len(y) - 30)
    assert found == pytest.approx(quantile * np.sqrt(noise + between + (between + noise / 20) / 30), rel=1e-3)


def test_intervals_cover_categories_that_are_unseen() -> None:
    shares = []
    for seed in range(12):
        table, y, _ = grouped(seed)
        low, high = SeparableRegressor(1).fit(table, y).predict_interval(NEW)[0]
        shares.append(norm.cdf(high, scale=101**0.5) - norm.cdf(low, scale=101**0.5))  # of all other groups' rows
    assert 0.91 < np.mean(shares) < 0.97


def test_intervals_of_an_unseen_category_reach_from_what_is_missing_to_the_mean_of_all() -> None:
    table, y, place = grouped(0)
    table[place == 0] = None
    found = np.diff(SeparableRegressor(1).fit(table, y).predict_interval(NEW))[0, 0] / 2
    levels = np.array([y[place == k].mean() for k in range(30)])
    noise = np.sum((y - levels[place]) ** 2) / (len(y) - 30)
    between = levels.var(ddof=1) - noise / 20
    kept = between / (between + noise / 20)  # of the distance of a level from the mean
    error = noise / 600 + kept * noise / 20 * 29 / 30
    away = kept * (levels[0] - levels.mean())
    quantile = student.ppf(0.975, len(y) - 30)
    assert found == pytest.approx(quantile * np.sqrt(noise + error + between * 31 / 30 + away**2), rel=1e-3)


def test_intervals_cover_categories_that_are_unseen_where_training_missed_some_or_had_rare_ones(monkeypatch) -> None:
    for missed in (True, False):
        shares = []
        for seed in range(12):
            table, y, place = grouped(seed)
            if missed:
                table[place == seed] = None
            else:
                table[place == seed, 0] = [f"rare {k % 10}" for k in range(20)]
                monkeypatch.setattr(column_policy, "_MOST_CATEGORIES", 29)
            model = SeparableRegressor(1).fit(table, y)
            low, high = model.predict_interval(NEW)[0]
            shares.append(norm.cdf(high, scale=101**0.5) - norm.cdf(low, scale=101**0.5))
            # Of rows that miss theirs training has seen many.
            assert np.diff(model.predict_interval([[None]]))[0, 0] < 6
        assert 0.93 < np.mean(shares) < 0.99


def test_intervals_cover_where_a_number_is_missing_that_training_never_missed() -> None:
    random = np.random.default_rng(0)
    x = random.exponential(size=(600, 2))
    y = 3 * x[:, 0] - x[:, 1] + 0.5 * random.normal(size=600)
    model = SeparableRegressor(1).fit(x, y)
    low, high = model.predict_interval([[np.nan, 0.5]], coverage=0.9)[0]
    truth = 3 * random.exponential(size=10_000) - 0.5 + 0.5 * random.normal(size=10_000)
    assert 0.87 < np.mean((low < truth) & (truth < high)) < 0.93
    beside = model.predict_interval([[np.median(x[:, 0]), 0.5]], coverage=0.9)[0]
    assert np.diff(beside)[0] / 2 == pytest.approx(1.644854 * 0.5, rel=0.1)


def test_of_very_many_categories_the_commonest_are_kept() -> None:
    random = np.random.default_rng(0)
    names = np.array([f"name {k}" for k in random.permutation(6000)])
    values = names[np.minimum(random.geometric(5e-4, 20_000), 6000) - 1]
    weights = random.integers(1, 4, len(values)) * 1.0
    total = Counter[str]()
    for value, weight in zip(values, weights, strict=True):
        total[value] += weight
    table = np.stack([values, values], axis=1).astype(object)
    columns = Columns.of(table, weights, ["a", "b"], None)
    kept = columns.features[0].categories
    assert kept is not None
    assert len(kept) == 1000
    assert list(kept) == sorted(kept)
    assert min(total[name] for name in kept) >= max(total[name] for name in set(values) - set(kept))
    index = {name: k for k, name in enumerate(kept)}
    assert columns.encode(table)[:, 1].tolist() == [index.get(value, 1000) for value in values]


def test_names_that_occur_once_are_not_learnt() -> None:
    values = [f"name {k}" for k in range(1500)] + ["name 7", "name 3"]
    columns = Columns.of(np.array(values, dtype=object)[:, None], np.ones(1502), ["a"], "auto")
    assert columns.features[0].categories == ("name 3", "name 7")


def test_rare_categories_are_predicted_together(table: pd.DataFrame, monkeypatch) -> None:
    y = target(table)
    rare = table.city.to_numpy(dtype=object, copy=True)
    rare[:30] = [f"village {k % 15}" for k in range(30)]  # twice each
    monkeypatch.setattr(column_policy, "_MOST_CATEGORIES", 3)
    found = SeparableRegressor(1).fit(table.assign(city=rare), y).predict(table.assign(city=rare))
    rare[:30] = None
    assert np.allclose(found, SeparableRegressor(1).fit(table.assign(city=rare), y).predict(table.assign(city=rare)))


def test_objects_arrays_and_lists_of_rows() -> None:
    rows = [[1.0, "a"], [2.0, "b"], [3.0, None], [None, "a"], [5.0, "b"]]
    for table in (rows, np.array(rows, dtype=object)):
        model = SeparableClassifier().fit(table, ["u", "v", "u", "v", "u"])
        assert model.columns_.features[1].categories == ("a", "b")
        assert np.isfinite(model.predict_proba(table)).all()


@pytest.mark.parametrize("kind", ["int64", "uint64", "Int64", "array"])
def test_integers_that_floating_point_numbers_cannot_tell_apart_are_categories(kind: str) -> None:
    random = np.random.default_rng(0)
    code, x = random.integers(0, 5, 200), random.random(200)
    ids = code + 2**60
    table = pd.DataFrame({"id": pd.Series(ids).astype("int64" if kind == "array" else kind), "x": x})
    if kind == "Int64":
        table.loc[:3, "id"] = pd.NA
    y = np.arange(5.0)[code]
    given = np.stack([ids, code], axis=1) if kind == "array" else table
    model = SeparableRegressor(1, categorical_features=[0]).fit(given, y)
    assert model.columns_.features[0].categories == tuple(range(2**60, 2**60 + 5))
    assert model.score(given, y) > 0.97
    as_number = SeparableRegressor(1).fit(given, x)
    assert as_number.columns_.features[0].categories is None
    assert np.isfinite(as_number.predict(given)).all()


@pytest.mark.parametrize("kind", ["datetime64[ns]", "datetime64[D]", "timedelta64[ns]", "timedelta64[s]"])
def test_dates_and_spans_of_time_are_categories_where_they_are_named(kind: str) -> None:
    random = np.random.default_rng(0)
    code, x = random.integers(0, 3, 200), random.random(200)
    start = "2020-01-01" if kind.startswith("datetime") else 0
    times = (np.array(start, dtype=kind.replace("ns", "D").replace("[s]", "[D]")) + code).astype(kind)
    frame = pd.DataFrame({"time": times, "x": x})
    gap = frame.assign(time=frame.time.where(np.arange(200) > 3))
    for table in (frame, gap, times[:, None], frame.assign(x="word")):
        model = SeparableRegressor(1, categorical_features=[0]).fit(table, code * 1.0)
        assert len(model.columns_.features[0].categories or ()) == 3
        assert model.score(table, code * 1.0) > 0.97
        name = "x0" if isinstance(table, np.ndarray) else "time"
        with pytest.raises(TypeError, match=name):
            SeparableRegressor(1).fit(table, code * 1.0)


def test_a_series_is_refused_as_scikit_learn_refuses_one(table: pd.DataFrame) -> None:
    for name in ("age", "city", "kind"):
        with pytest.raises(ValueError, match="Expected"):
            SeparableRegressor(1).fit(table[name], table.age)


def test_rows_of_no_weight_are_not_read() -> None:
    x = np.random.default_rng(0).random((40, 2))
    weights = np.append(np.ones(39), 0.0)
    plain = SeparableRegressor(1).fit(x[:-1], x[:-1, 0])
    x[-1] = np.inf
    for given in (x, pd.DataFrame(x, columns=["x0", "x1"])):
        found = SeparableRegressor(1).fit(given, np.append(x[:-1, 0], 0.0), sample_weight=weights)
        assert np.array_equal(found.encode(given[:-1]), plain.encode(x[:-1]))
        np.testing.assert_allclose(found.predict(given[:-1]), plain.predict(x[:-1]))


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


def test_the_picture_names_the_classes_beside_categories() -> None:
    random = np.random.default_rng(0)
    city, x = random.choice(list(CITIES), 200), random.random(200)
    y = np.where(random.random(200) < 0.9, np.char.lower(city), "paris")
    model = SeparableClassifier(1).fit(pd.DataFrame({"city": city, "x": x}), y)
    assert next(iter(model.interaction_strengths_)) == ("city",)
    legend = model.plot().axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["oslo", "paris", "rome"]


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
