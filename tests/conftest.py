"""What all tests start from."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Shells ignore interrupts in what they start in the background, and children inherit that; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def disk_fills_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Called with a number, lets so many more files be written by `Path.write_bytes`, and none after them."""

    def fill(files: int) -> None:
        write, left = Path.write_bytes, iter(range(files))

        def failing(path: Path, content: bytes) -> int:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", failing)

    return fill
