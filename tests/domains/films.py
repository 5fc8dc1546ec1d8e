"""Frames of an MP4, decoded by ffmpeg itself."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames ``(h, w, 3)`` of a film; the test is skipped where no ffmpeg is installed."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    folder = path.with_suffix(".frames")
    folder.mkdir()
    subprocess.run(
        [program, "-v", "error", "-i", path, "-fps_mode", "passthrough", folder / "%04d.png"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return [np.asarray(Image.open(frame).convert("RGB")).astype(float) for frame in sorted(folder.iterdir())]
