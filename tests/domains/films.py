"""Frames of an MP4, decoded by ffmpeg itself."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames ``(h, w, 3)`` of a film; the test is skipped where no ffmpeg is installed."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    major, minor = map(int, re.findall(r"\d+", ffmpeg.get_ffmpeg_version())[:2])
    as_stored = "-fps_mode" if (major, minor) >= (5, 1) else "-vsync"
    folder = path.with_suffix(".frames")
    folder.mkdir()
    subprocess.run(
        [ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, as_stored, "passthrough", folder / "%04d.png"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return [np.asarray(Image.open(frame).convert("RGB")).astype(float) for frame in sorted(folder.iterdir())]
