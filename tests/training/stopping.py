"""A run folder whose training is stopped by a signal at one of its steps; for programs in a process of their own."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from separable.training import RunFolder
from tests.training.ranks import rank


class Stopping(RunFolder):
    """Sends SIGTERM when a step is recorded: one process is told to stop, and all of them do.

    Args:
        path: The folder.
        step: The step; 0 for never.
        launcher: Whether torchrun is told, which tells its processes, and not this process.
    """

    def __init__(self, path: Path, step: int = 0, launcher: bool = False) -> None:
        super().__init__(path, {}, 0)
        self.step, self.launcher = step, launcher

    def log(self, **told: Any) -> None:
        """As of any folder."""
        super().log(**told)
        if self.step and told.get("step") == self.step and rank() == 0:
            self.step = 0
            os.kill(os.getppid() if self.launcher else os.getpid(), signal.SIGTERM)
            time.sleep(10.0 if self.launcher else 0.0)  # the training is not to end before it is told
