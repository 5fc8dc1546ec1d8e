"""A wish to stop (Ctrl-C, SIGTERM) that waits for the end of a step; a second one does not wait."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether a signal asked for the end."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        if self.made:
            raise KeyboardInterrupt
        self.made = True


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note signals instead of ending at once; only where signals can be handled, that is in the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
