"""A table of data: fit it with the scikit-learn estimator, see what it learned, and compare with boosted trees."""

from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

import separable
from separable import SeparableRegressor


def main() -> None:
    """Predict the progression of diabetes from ten measurements."""
    table = load_diabetes(scaled=False)
    split = train_test_split(table.data, table.target, test_size=0.3, random_state=0)
    x_train, x_test, y_train, y_test = split

    model = SeparableRegressor().fit(x_train, y_train)
    trees = HistGradientBoostingRegressor(random_state=0).fit(x_train, y_train)
    for name, fitted in (("separable", model), ("boosted trees", trees)):
        print(f"{name:14} error on held-out rows: {root_mean_squared_error(y_test, fitted.predict(x_test)):.1f}")

    print("share of the variance that each column explains:")
    for columns, share in list(model.interaction_strengths_.items())[:4]:
        names = ", ".join(table.feature_names[int(c.removeprefix("x"))] for c in columns)
        print(f"  {names:10} {share:.2f}")

    figure = model.plot()  # every learned function, strongest first
    figure.savefig("diabetes.png")

    grown = separable.grow(x_train, y_train)  # the same data without the estimator: one layer, found by validation
    print("grown:", grown.report)


if __name__ == "__main__":
    main()
