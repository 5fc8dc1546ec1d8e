"""What a training tells while it runs: a bar with the time left, and lines in the record."""

from types import TracebackType
from typing import Any

from tqdm import tqdm

from separable.training.failures import checkpoints_kept
from separable.training.run_folder import RunFolder


class Progress:
    """A bar over the share that is done, and ``metrics.jsonl`` of a run.

    Args:
        run: gets the lines; None for no record.
        unit: what the speed counts, such as ``tokens``.
        shown: whether there is a bar.
        done: share that was done before.
    """

    def __init__(self, run: RunFolder | None, unit: str, shown: bool, done: float) -> None:
        self.run, self.unit = run, unit
        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(total=1.0, initial=min(1.0, done), disable=not shown, bar_format=layout)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def moved(self, done: float, step: int, loss: float, speed: float) -> None:
        """Show how far the training is."""
        self.bar.set_postfix_str(f"step {step}, loss {loss:.4g}, {speed:,.0f} {self.unit}/s", refresh=False)
        self.bar.update(min(1.0, done) - self.bar.n)

    def record(self, **measurements: Any) -> None:
        """Add a line to the record.

        Raises:
            OSError: it cannot be written.
        """
        if self.run is None:
            return
        try:
            self.run.log(**measurements)
        except OSError as refused:
            raise OSError(
                f"record: could not write {self.run.path / 'metrics.jsonl'}: {refused}{checkpoints_kept(self.run)}"
            ) from refused
