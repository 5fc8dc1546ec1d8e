"""The demonstration says what it measured, and what it measured is right."""

from matplotlib.figure import Figure

from separable.galerkin import demonstration


def test_the_demonstration_agrees_with_finite_differences():
    numbers, figure = demonstration()
    assert numbers["worst relative error against finite differences"] < 5e-3
    assert isinstance(figure, Figure)
