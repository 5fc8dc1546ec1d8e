"""What a fit did: its path, and why it stopped."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Step:
    """The state after one sweep or one accepted Gauss-Newton step.

    Args:
        method: ``alternating_least_squares`` or ``gauss_newton``.
        rank: Rank of the interaction at that time.
        training: Root mean square error on the training rows, over all outputs, weighted.
        validation: The same on the validation rows, or None.
        seconds: Time since the start of the fit.
    """

    method: str
    rank: int
    training: float
    validation: float | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class FitReport:
    """Outcome of `separable.fit`.

    Args:
        path: Every step in order; of several starts those of the best.
        stopped: Why the last stage ended: ``converged``, ``validation`` (it no longer improved) or ``budget``.
        training: Root mean square error on the training rows of the layer as it was left.
        validation: The same on the validation rows, or None.
        rows: Training rows seen.
        parameters: Coefficients fitted.
    """

    path: tuple[Step, ...]
    stopped: str
    training: float
    validation: float | None
    rows: int
    parameters: int

    @property
    def seconds(self) -> float:
        """Time from the call to the last step of the path."""
        return self.path[-1].seconds if self.path else 0.0

    def __str__(self) -> str:
        """One line for a log."""
        validation = "" if self.validation is None else f", validation {self.validation:.3g}"
        return (
            f"rmse {self.training:.3g}{validation} after {len(self.path)} steps, {self.seconds:.2f} s "
            f"({self.rows} rows, {self.parameters} parameters, stopped: {self.stopped})"
        )
