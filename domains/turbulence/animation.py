"""A moving picture of a forecast: what came, three members, and where they disagree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.turbulence.evaluation_pictures import colours_of
from domains.turbulence.forecaster import FlowDescription

Array = NDArray[np.float32]
_MEMBERS = 3  # shown


def animate_forecast(
    truth: Array,
    members: Array,
    description: FlowDescription,
    path: str | Path,
    *,
    frames_per_second: float = 4.0,
) -> Path:
    """Write a film with one picture for each frame; the first is what the forecast starts from.

    Args:
        truth: ``(T + 1, *grid)``, the last known frame and those that came; frames that are not known are NaN.
        members: ``(M, T, *grid)``, two or more.
        description: of the flow.
        path: a file ending in .gif or .mp4; the latter needs imageio and its ffmpeg.
        frames_per_second: of the film.

    Returns:
        The file.

    Raises:
        ValueError: the ending or a shape does not fit.
        ModuleNotFoundError: an MP4 is wanted and imageio is not installed.
    """
    path = Path(path)
    check_film(path)
    if len(members) < 2 or members.shape[1] + 1 != len(truth) or members.shape[2:] != truth.shape[1:]:
        raise ValueError(
            f"members: expected two or more of {len(truth) - 1} frames on {truth.shape[1:]} points, got {members.shape}"
        )
    pictures = pictures_of_film(truth, members, description)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    if path.suffix == ".mp4":
        import imageio

        imageio.mimsave(temporary, list[Any](pictures), fps=frames_per_second, macro_block_size=2)
    else:
        from PIL import Image

        # One palette for the whole film, that of a picture in the middle, or the colours would flicker.
        palette = Image.fromarray(pictures[len(pictures) // 2]).quantize(255)
        quantised = [
            Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
        ]
        duration = round(1000 / frames_per_second)
        quantised[0].save(temporary, save_all=True, append_images=quantised[1:], duration=duration, loop=0)
    temporary.replace(path)
    return path


def check_film(path: Path) -> None:
    """Refuse a file that no film can be written to.

    Raises:
        ValueError: the ending does not fit.
        ModuleNotFoundError: an MP4 is wanted and imageio is not installed.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"path: expected one ending in .gif or .mp4, got {path.name!r}")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio") is None:
        raise ModuleNotFoundError("MP4 needs imageio and its ffmpeg: pip install 'separable[video]'")


def pictures_of_film(truth: Array, members: Array, description: FlowDescription) -> list[NDArray[np.uint8]]:
    """The pictures that `animate_forecast` makes a film of, ``(height, width, 3)`` each; arguments are its own."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    draw = _fields if members.ndim == 4 else _lines
    figure, show = draw(truth, members, description)
    canvas = FigureCanvasAgg(figure)
    pictures = []
    for lead in range(len(truth)):
        show(lead)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        pictures.append(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])  # films have even sides
    plt.close(figure)
    return pictures


def _title(lead: int, description: FlowDescription) -> str:
    unit = description.time_unit
    return f"{lead * description.time_step:g}{'' if unit in ('1', 'unknown', 'frame') else f' {unit}'}"


def _fields(truth: Array, members: Array, description: FlowDescription) -> tuple[Any, Any]:
    """A figure of maps in a row, and what shows one lead in it."""
    import matplotlib.pyplot as plt

    shown = min(_MEMBERS, len(members))
    figure, axes = plt.subplots(1, shown + 2, figsize=(2.4 * (shown + 2), 2.9), layout="constrained", dpi=80)
    spread = members.std(0, ddof=1)
    box = (0.0, description.lengths[1], 0.0, description.lengths[0])
    blank = np.zeros(truth.shape[1:], np.float32)
    options: dict[str, Any] = {"origin": "lower", "extent": box, "interpolation": "bilinear"}
    images = [axis.imshow(blank, **colours_of(members), **options) for axis in axes[:-1]]
    # As large as that of two fields that have nothing to do with each other, seldom more.
    images.append(axes[-1].imshow(blank, cmap="magma", vmin=0, vmax=max(float(np.nanstd(members)), 1e-30), **options))
    for axis, name in zip(axes, ("what came", *(f"member {j + 1}" for j in range(shown)), "spread"), strict=True):
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.colorbar(images[0], ax=list(axes[:-1]), shrink=0.75, pad=0.01).ax.tick_params(labelsize=7)
    figure.colorbar(images[-1], ax=axes[-1], shrink=0.75, pad=0.02).ax.tick_params(labelsize=7)

    def show(lead: int) -> None:
        fields = [truth[lead]] + [truth[0] if lead == 0 else member[lead - 1] for member in members[:shown]]
        for image, field in zip(images, [*fields, blank if lead == 0 else spread[lead - 1]], strict=True):
            image.set_data(field)
        figure.suptitle(f"{description.long_name}, {_title(lead, description)} after the last known frame", fontsize=10)

    return figure, show


def _lines(truth: Array, members: Array, description: FlowDescription) -> tuple[Any, Any]:
    """A figure of lines over x, and what shows one lead in it."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 2.9), layout="constrained", dpi=80)
    x = np.arange(truth.shape[1]) * description.lengths[0] / truth.shape[1]
    drawn = [axis.plot(x, truth[0], "C0", linewidth=0.8, alpha=0.6)[0] for _ in members]
    (came,) = axis.plot(x, truth[0], "k", linewidth=2, label="what came")
    drawn[0].set_label("members")
    low, high = float(np.nanmin(members)), float(np.nanmax(members))
    margin = 0.1 * max(high - low, 1e-30)
    axis.set(
        ylim=(low - margin, high + margin), xlim=(0, description.lengths[0]), xlabel="x", ylabel=description.variable
    )
    axis.legend(fontsize=8, loc="upper right")

    def show(lead: int) -> None:
        came.set_ydata(truth[lead])
        for line, member in zip(drawn, members, strict=True):
            line.set_ydata(truth[0] if lead == 0 else member[lead - 1])
        axis.set_title(f"{_title(lead, description)} after the last known frame", fontsize=10)

    return figure, show
