"""An episode as a moving picture: GIF with Pillow, MP4 if imageio and its ffmpeg are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from PIL import Image


def record(
    env: gymnasium.Env[Any, Any],
    policy: Callable[[Any], Any] | None,
    path: str | Path,
    *,
    seed: int | None = None,
    every: int = 2,
) -> dict[str, Any]:
    """Fly one episode and write it as a moving picture.

    Args:
        env: An environment with ``render_mode="rgb_array"``.
        policy: From an observation to an action; None takes random ones.
        path: A file ending in .gif or .mp4; it is written to a temporary name and renamed.
        seed: Of the episode.
        every: A frame for so many steps.

    Returns:
        The info of the last step.

    Raises:
        ValueError: If the render mode, the ending or ``every`` is wrong.
        ModuleNotFoundError: If an MP4 is wanted and imageio is not installed.
    """
    path = Path(path)
    if env.render_mode != "rgb_array":
        raise ValueError(f'record: expected an environment with render_mode="rgb_array"; got {env.render_mode!r}')
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"record: expected a path ending in .gif or .mp4; got {path.name!r}")
    if every < 1:
        raise ValueError(f"record: every is at least 1; got {every!r}")
    if path.suffix == ".mp4":
        importlib.import_module("imageio")  # missing, it is told before the flight
    observation, info = env.reset(seed=seed)
    if seed is not None:
        env.action_space.seed(seed)
    frames, ended, steps = [env.render()], False, 0
    while not ended:
        action = env.action_space.sample() if policy is None else policy(observation)
        observation, _, terminated, truncated, info = env.step(action)
        ended, steps = terminated or truncated, steps + 1
        if ended or steps % every == 0:
            frames.append(env.render())
    write(frames, path, env.metadata["render_fps"] / every)
    return info


def write(frames: list[Any], path: Path, fps: float) -> None:
    """Write frames ``(h, w, 3)`` uint8 as a GIF or MP4 with so many per second."""
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    if path.suffix == ".gif":
        images = [Image.fromarray(np.asarray(frame)).quantize(64) for frame in frames]
        images[0].save(temporary, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    else:
        _mp4(frames, temporary, fps)
    temporary.replace(path)


def _mp4(frames: list[npt.NDArray[np.uint8]], path: Path, fps: float) -> None:
    importlib.import_module("imageio").mimwrite(path, frames, fps=fps)
