"""Pixels of PNG and TIFF files, stacks included, in the axes of a cell, and back; through Pillow.

Axis 0 of a cell is x, to the right; axis 1 is y, upwards; axis 2 of a stack is z, from page to page. So the picture in
a viewer is the cell as it is drawn on paper, and ``cell[0, 0]`` is its lower left corner.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, TiffImagePlugin

from separable.files import FREE, RATIO, refusing

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WORK = 32  # bytes that a voxel takes at most on its way from the page to the cell


def read_picture(path: Path, *, labels: bool = False) -> NDArray[Any]:
    """Grey values ``(n_x, n_y)``, or ``(n_x, n_y, n_z)`` of a stack.

    Colour becomes luminance, 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), unless all three are equal.

    Args:
        path: A file that Pillow reads.
        labels: Whether pixels of a picture with a palette are their numbers in it, as segmentations have them, instead
            of the grey of their colours.

    Raises:
        ValueError: If pixels are transparent, or of floating point with white as zero, pages differ in size, or a stack
            has several channels or times, or its pages are not stored one by one, or are more than a file of this size
            holds.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.png"
        >>> write_picture(np.array([[0, 1], [1, 1], [0, 0]]), path, "PNG")
        >>> read_picture(path).shape
        (3, 2)
    """
    with opened(path) as image:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            count = getattr(image, "n_frames", 1)
            _require_plain_stack(path, str(image.tag_v2.get(270, "")), count)
            _require_cubes(path, image)
            _refuse_bomb(path, image, count)
            pages = [_grey(path, page, labels) for page in ImageSequence.Iterator(image)]
        else:
            pages = [_grey(path, upright(image), labels)]
    if len({page.shape for page in pages}) > 1:
        raise ValueError(f"{path}: pages of a stack have one size, got {sorted({page.shape for page in pages})}")
    turned = [page[::-1].T for page in pages]
    return turned[0] if len(turned) == 1 else np.stack(turned, axis=2)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture in a file; what Pillow says of its content while it is open is a ValueError that names the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.png"
        >>> Image.new("L", (3, 2)).save(path)
        >>> with opened(path) as image:
        ...     print(image.size)
        (3, 2)
    """
    # By its name Pillow would map an uncompressed TIFF that lies on its side with rows of the wrong length.
    with refusing(path, "a picture"), path.open("rb") as file, Image.open(file) as image:
        yield image


def upright(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it: cameras store the way they were held beside the pixels.

    Example:
        >>> upright(Image.new("L", (3, 2))).size
        (3, 2)
    """
    # Pillow turns TIFF itself when it loads it.
    return image if isinstance(image, TiffImagePlugin.TiffImageFile) else ImageOps.exif_transpose(image)


def write_picture(cell: NDArray[Any], path: Path, form: str) -> None:
    """Write phase 1 white (255) and phase 0 black (0), a page for each z.

    Args:
        cell: ``(n_x, n_y)``, or with TIFF ``(n_x, n_y, n_z)``; 0 and 1.
        path: The file.
        form: ``PNG`` or ``TIFF``.

    Raises:
        ValueError: If a cell of three axes is to become a PNG.

    Example:
        >>> import tempfile
        >>> write_picture(np.eye(3), Path(tempfile.mkdtemp()) / "cell.tif", "TIFF")
    """
    if cell.ndim == 3 and form != "TIFF":
        raise ValueError(f"{path}: a {form} holds two axes, got a cell of shape {cell.shape}; write .tif or .vti")
    stack = cell[:, :, None] if cell.ndim == 2 else cell
    grey = np.ascontiguousarray((stack[:, ::-1] != 0).transpose(2, 1, 0).astype(np.uint8) * 255)
    pages = [Image.fromarray(page) for page in grey]
    if form == "TIFF":
        pages[0].save(path, format=form, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    else:
        pages[0].save(path, format=form)


def _grey(path: Path, image: Image.Image, labels: bool) -> NDArray[Any]:
    """One page as ``(rows, columns)``, row 0 on top."""
    if labels and image.mode == "P":
        return np.asarray(image)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    # A PNG without alpha may still name one of its colours as transparent.
    opaque = "transparency" not in image.info or image.convert("RGBA").getextrema()[-1] == (255, 255)
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if not opaque or (image.mode in ("LA", "RGBA") and (pixels[..., -1] != 255).any()):
        raise ValueError(f"{path}: has transparent pixels, whose grey value is not defined; flatten it first")
    if image.mode in ("LA", "RGBA"):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
        return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))
    return as_a_viewer_shows(path, image, pixels) if isinstance(image, TiffImagePlugin.TiffImageFile) else pixels


def as_a_viewer_shows(path: Path, image: TiffImagePlugin.TiffImageFile, pixels: NDArray[Any]) -> NDArray[Any]:
    """What Pillow leaves to others in a page of TIFF: whether its numbers have a sign, and white as zero.

    Args:
        path: The file, for the message.
        image: The page, of one number a pixel.
        pixels: ``(rows, columns)``, its numbers by Pillow.

    Raises:
        ValueError: If white is zero among numbers of floating point.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("L", (2, 1), 7).save(file, "TIFF")
        >>> with Image.open(file) as image:
        ...     as_a_viewer_shows(Path("cell.tif"), image, np.asarray(image)).tolist()
        [[7, 7]]
    """
    signed = image.tag_v2.get(_SAMPLE_FORMAT, 1)
    if image.mode == "I" and image.tag_v2.get(_BITS) == (32,) and signed in (1, (1,)):
        pixels = pixels.view(np.uint32)
    if image.mode == "L" and signed in (2, (2,)):
        pixels = pixels.view(np.int8)
    if image.tag_v2.get(_PHOTOMETRIC) != 0 or image.mode in ("1", "L"):
        return pixels
    if pixels.dtype.kind == "f":
        raise ValueError(f"{path}: says that white is zero, which leaves open what is brighter of its numbers")
    return ~pixels


def _require_plain_stack(path: Path, description: str, pages: int) -> None:
    """Refuse what would be read in part: several channels or times, or an ImageJ file with one page entry for all."""
    if description.startswith("ImageJ"):
        stated = dict(re.findall(r"^(images|channels|slices|frames)=(\d+)$", description, re.M))
        images = int(stated.pop("images", pages))
        if sum(int(count) > 1 for count in stated.values()) > 1 or any(1 < int(n) < images for n in stated.values()):
            raise ValueError(f"{path}: expected one stack, got {stated} of {images} images; save the one that you mean")
        if images != pages:
            raise ValueError(f"{path}: says {images} images and lists {pages}; save it as a plain TIFF")
    shaped = re.match(r'\{"shape": \[([\d, ]+)\]', description)
    if shaped:
        shape = [int(n) for n in shaped[1].split(",")]
        if len(shape) > 3 and shape[-1] not in (3, 4) and sum(n > 1 for n in shape) > 3:
            raise ValueError(f"{path}: expected two or three axes, got {shape}")
        if len(shape) == 3 and shape[-1] not in (3, 4) and shape[0] != pages:
            raise ValueError(f"{path}: says {shape[0]} pages and lists {pages}; save it as a plain TIFF")


def _require_cubes(path: Path, image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a stack whose ImageJ file says that its pages are farther apart than its pixels, or nearer."""
    spacing = re.search(r"^ImageJ.*^spacing=([\d.eE+-]+)$", str(image.tag_v2.get(270, "")), re.M | re.S)
    a_pixel = [1 / float(image.tag_v2[tag]) for tag in (282, 283) if float(image.tag_v2.get(tag, 0)) > 0]
    if spacing and len(a_pixel) == 2 and getattr(image, "n_frames", 1) > 1:
        sides = [*a_pixel, float(spacing[1])]
        if max(sides) - min(sides) > 1e-3 * max(sides):
            raise ValueError(f"{path}: voxels are cubes, got the spacing {sides}; resample the image")


def _refuse_bomb(path: Path, image: Image.Image, pages: int) -> None:
    """Refuse pages that are together more than their file holds, as many of one strip; Pillow looks at each alone."""
    voxels = 0
    for page in range(pages):
        image.seek(page)
        voxels += image.width * image.height
    image.seek(0)
    if pages > 1 and voxels > FREE // _WORK + RATIO * os.stat(path).st_size:
        raise ValueError(f"{path}: its {pages} pages are {voxels} voxels, more than a file of this size holds")
