"""Files in and out: round trips of every format, files of others written by hand, and what is refused or told."""

import base64
import json
import resource
import struct
import warnings
import zlib

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from domains.microstructure.cells import generate
from domains.microstructure.images import NotBinaryError, NotPeriodicWarning, mirrored, read_cell, write_cell
from tests.domains.microstructure.tiff import plain_tiff
from tests.reliability.damage import tif_of_one_strip

PLANE = generate("overlapping_spheres", (16, 12), 0.4, 1, radius=2.0)
SOLID = generate("overlapping_spheres", (9, 8, 7), 0.4, 1, radius=1.5)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy", ".h5", ".hdf5", ".vtk", ".vti", ".PNG"])
@pytest.mark.parametrize("cell", [PLANE, SOLID])
def test_every_format_gives_the_cell_back(tmp_path, suffix, cell):
    path = tmp_path / f"cell{suffix}"
    if cell.ndim == 3 and suffix.lower() == ".png":
        with pytest.raises(ValueError):
            write_cell(cell, path)
        assert list(tmp_path.iterdir()) == []
        return
    assert write_cell(cell, path, voxel_size=0.3) == path
    assert list(tmp_path.iterdir()) == [path]
    found = read_cell(path, periodic="accept")
    assert found.dtype == torch.float64
    assert found.equal(cell)
    assert read_cell(path, phase="dark", periodic="accept").equal(1 - cell)


def test_pictures_have_x_to_the_right_and_y_upwards(tmp_path):
    rows = np.array([[0, 0, 255], [0, 255, 255]], dtype=np.uint8)  # the upper row first
    Image.fromarray(rows).save(tmp_path / "a.png")
    cell = read_cell(tmp_path / "a.png", periodic="accept")
    assert cell.tolist() == [[0, 0], [1, 0], [1, 1]]
    pages = [Image.fromarray(page) for page in (rows, 255 - rows)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    stack = read_cell(tmp_path / "a.tif", periodic="accept")
    assert stack[:, :, 0].equal(cell)
    assert stack[:, :, 1].equal(1 - cell)


@pytest.mark.parametrize(("kind", "white"), [("<u1", 0), ("<u1", 1), ("<u2", 0), ("<u2", 1), ("<u4", 1)])
def test_numbers_of_any_width_are_as_bright_as_the_file_says(tmp_path, kind, white):
    bright = np.array([[True, False, False], [False, False, True]])
    full = np.iinfo(kind).max
    rows = np.where(bright == bool(white), full, 0).astype(kind)
    plain_tiff(tmp_path / "a.tif", rows, {262: white})
    cell = read_cell(tmp_path / "a.tif", periodic="accept")
    assert cell.equal(torch.from_numpy(bright[::-1].T.astype(float)))


@pytest.mark.parametrize("kind", ["<i1", "<i2", "<i4"])
def test_labels_with_a_sign_keep_it(tmp_path, kind):
    labels = np.array([[-1, -1, 1], [1, -1, -1]])
    plain_tiff(tmp_path / "a.tif", labels.astype(kind), {262: 1, 339: 2})
    for phase in (None, 1):
        cell = read_cell(tmp_path / "a.tif", periodic="accept", **({} if phase is None else {"phase": phase}))
        assert cell.tolist() == (labels == 1)[::-1].T.astype(float).tolist()


def test_whose_white_is_zero_in_floating_point_is_not_guessed(tmp_path):
    plain_tiff(tmp_path / "a.tif", np.eye(3, dtype="<f4"), {262: 0, 339: 3})
    with pytest.raises(ValueError, match="white is zero"):
        read_cell(tmp_path / "a.tif")


def test_labels_of_a_picture_with_a_palette_are_its_numbers(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 1]], dtype=np.uint8)
    picture = Image.fromarray(labels).convert("L")
    picture.putpalette([200, 0, 0, 0, 90, 0, 0, 0, 255])
    picture.save(tmp_path / "labels.png")
    cell = read_cell(tmp_path / "labels.png", phase=1, periodic="accept")
    assert cell.equal(torch.from_numpy((labels[::-1].T == 1).astype(float)))
    with pytest.raises(ValueError, match=r"3 \(0, 1, 2, at most 2\)"):
        read_cell(tmp_path / "labels.png", phase=7)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_photograph_is_read_as_a_viewer_shows_it(tmp_path, name):
    shown = np.array([[0, 0, 255], [0, 255, 255]], dtype=np.uint8)
    turns = {3: 2, 6: 1, 8: -1}  # orientation in Exif: quarter turns against the clock of what is stored
    for orientation, quarters in turns.items():
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(np.rot90(shown, quarters)).save(tmp_path / name, exif=exif)
        assert read_cell(tmp_path / name, periodic="accept").tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "F", "CMYK"])
def test_pictures_of_every_mode(tmp_path, mode):
    grey = (PLANE.numpy()[:, ::-1].T * 255).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    else:
        image = Image.fromarray(grey).convert(mode)
    path = tmp_path / ("cell.tif" if mode in ("F", "CMYK") else "cell.png")
    image.save(path)
    assert read_cell(path, periodic="accept").equal(PLANE)


def test_colours_become_luminance(tmp_path):
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8)).save(
        tmp_path / "c.png"
    )
    with pytest.raises(NotBinaryError):
        read_cell(tmp_path / "c.png")
    limit = 0.299 * 255 - 0.1
    assert read_cell(tmp_path / "c.png", threshold=limit, periodic="accept").tolist() == [[0, 1], [0, 1]]


def test_transparent_pictures_are_refused(tmp_path):
    Image.fromarray(np.array([[[0] * 4, [255] * 4]] * 2, dtype=np.uint8)).save(tmp_path / "t.png")
    with pytest.raises(ValueError):
        read_cell(tmp_path / "t.png")


@pytest.mark.parametrize(("mode", "there", "absent"), [("L", 255, 7), ("RGB", (0, 0, 0), (1, 2, 3)), ("1", 255, None)])
def test_a_colour_that_stands_for_transparency_is_refused_where_it_occurs(tmp_path, mode, there, absent):
    picture = Image.fromarray((PLANE.numpy()[:, ::-1].T * 255).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "there.png", transparency=there)
    with pytest.raises(ValueError, match="transparent"):
        read_cell(tmp_path / "there.png", periodic="accept")
    if absent is not None:
        picture.save(tmp_path / "absent.png", transparency=absent)
        assert read_cell(tmp_path / "absent.png", periodic="accept").equal(PLANE)


@pytest.mark.parametrize(
    ("description", "fits"),
    [
        ("ImageJ=1.53\nimages=4\nslices=4\n", True),
        ("ImageJ=1.53\nimages=4\nframes=4\n", True),
        ("ImageJ=1.53\nimages=4\nchannels=2\nslices=2\n", False),
        ("ImageJ=1.53\nimages=400\nslices=400\n", False),
        (json.dumps({"shape": [4, 8, 6]}), True),
        (json.dumps({"shape": [9, 8, 6]}), False),
        (json.dumps({"shape": [2, 2, 8, 6]}), False),
        ("a sample", True),
    ],
)
def test_stacks_that_would_be_read_in_part_are_refused(tmp_path, description, fits):
    pages = [Image.fromarray(page) for page in (np.random.default_rng(0).random((4, 8, 6)) < 0.5).astype(np.uint8)]
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = description
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:], tiffinfo=info)
    if fits:
        assert read_cell(tmp_path / "s.tif", periodic="accept").shape == (6, 8, 4)
    else:
        with pytest.raises(ValueError):
            read_cell(tmp_path / "s.tif")


@pytest.mark.parametrize(("spacing", "resolution", "cubes"), [(0.5, 2.0, True), (5.0, 1.0, False), (0.5, 4.0, False)])
def test_a_stack_whose_pages_are_farther_apart_than_its_pixels_is_refused(tmp_path, spacing, resolution, cubes):
    pages = [Image.fromarray(page) for page in (np.random.default_rng(0).random((4, 8, 6)) < 0.5).astype(np.uint8)]
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = f"ImageJ=1.53\nimages=4\nslices=4\nunit=micron\nspacing={spacing}\n"
    info[282] = info[283] = resolution
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:], tiffinfo=info)
    if cubes:
        assert read_cell(tmp_path / "s.tif", periodic="accept").shape == (6, 8, 4)
    else:
        with pytest.raises(ValueError, match="cubes"):
            read_cell(tmp_path / "s.tif", periodic="accept")


def test_pages_that_share_their_bytes_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "s.tif"
    path.write_bytes(tif_of_one_strip(3, 8, 6))
    assert read_cell(path, periodic="accept").tolist() == [[[1.0] * 3] * 3 + [[0.0] * 3] * 3] * 8
    honest = generate("spinodal", (48, 48, 48), 0.5, 1)
    write_cell(honest, tmp_path / "honest.tif")
    path.write_bytes(tif_of_one_strip(40, 1000, 1000))
    assert path.stat().st_size < 10_000
    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
        with pytest.raises(ValueError, match=r"s\.tif: its 40 pages are 40000000 voxels"):
            read_cell(path)
    monkeypatch.setattr("domains.microstructure.images.pictures.FREE", 0)
    assert read_cell(tmp_path / "honest.tif", periodic="accept").equal(honest)


def test_one_of_many_cells(tmp_path):
    cells = np.stack([generate("spinodal", (16, 16), 0.5, seed).numpy() for seed in range(3)]).astype(np.uint8)
    np.save(tmp_path / "cells.npy", cells)
    with h5py.File(tmp_path / "cells.h5", "w") as file:
        file["data/cells"] = cells
        file["data/other"] = cells[0]
        file["targets"] = np.arange(3.0)
    for index in range(3):
        for path in ("cells.npy", "cells.h5"):
            found = read_cell(tmp_path / path, index=index, periodic="accept")
            assert (found.numpy() == cells[index]).all()
    assert (read_cell(tmp_path / "cells.h5", dataset="data/other", periodic="accept").numpy() == cells[0]).all()
    for options in ({}, {"dataset": "data"}, {"dataset": "cells"}, {"dataset": "targets"}):
        with pytest.raises(ValueError):
            read_cell(tmp_path / "cells.h5", **options)
    for index in (3, -1):
        with pytest.raises(IndexError):
            read_cell(tmp_path / "cells.npy", index=index)
        with pytest.raises(IndexError):
            read_cell(tmp_path / "cells.h5", dataset="data/cells", index=index)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError):
        read_cell(tmp_path / "objects.npy")


LEGACY = b"# vtk DataFile Version 3.0\ntitle\n%s\nDATASET STRUCTURED_POINTS\nDIMENSIONS 3 2 2\nORIGIN 0 0 0\n"


def legacy(kind, values, spacing=b"SPACING 1 1 1\n"):
    return LEGACY % kind + spacing + values


X_FASTEST = np.array([0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1])  # points of a 3 x 2 x 2 grid


@pytest.mark.parametrize("binary", [False, True])
def test_legacy_files_of_others(tmp_path, binary):
    kind = b"BINARY" if binary else b"ASCII"
    numbers = X_FASTEST.astype(">f4").tobytes() if binary else " ".join(map(str, X_FASTEST)).encode()
    more = (X_FASTEST + 5).astype(">i4").tobytes() if binary else "\n".join(map(str, X_FASTEST + 5)).encode()
    content = legacy(
        kind,
        b"POINT_DATA 12\nSCALARS grey float\nLOOKUP_TABLE default\n" + numbers
        + b"\nMETADATA\nINFORMATION 0\n\nFIELD FieldData 1\nsolid 1 12 int\n" + more + b"\n",
    )  # fmt: skip
    (tmp_path / "a.vtk").write_bytes(content)
    expected = [[[X_FASTEST[x + 3 * y + 6 * z] for z in range(2)] for y in range(2)] for x in range(3)]
    for name in ("grey", "solid"):
        assert read_cell(tmp_path / "a.vtk", dataset=name, periodic="accept").tolist() == expected
    for name in (None, "gray"):
        with pytest.raises(ValueError):
            read_cell(tmp_path / "a.vtk", dataset=name)
    (tmp_path / "cut.vtk").write_bytes(content[:-20])
    with pytest.raises(ValueError):
        read_cell(tmp_path / "cut.vtk", dataset="solid")


def test_blank_lines_and_metadata_may_stand_between_the_arrays_of_a_field(tmp_path):
    """VTK's own writer ends a line after nine numbers, and the array once more; of 12 numbers twice is as good."""
    arrays = [np.roll(X_FASTEST, k) for k in range(3)]
    content = b"POINT_DATA 12\nFIELD FieldData 3\n"
    for k, values in enumerate(arrays):
        content += b"a%d 1 12 int\n%s \n\n" % (k, " ".join(map(str, values)).encode())
        content += b"METADATA\nINFORMATION 0\n\n" if k == 1 else b""
    (tmp_path / "a.vtk").write_bytes(legacy(b"ASCII", content))
    for k, values in enumerate(arrays):
        found = read_cell(tmp_path / "a.vtk", dataset=f"a{k}", periodic="accept")
        assert found.tolist() == values.reshape(3, 2, 2, order="F").astype(float).tolist()
    (tmp_path / "short.vtk").write_bytes(legacy(b"ASCII", content.replace(b"FieldData 3", b"FieldData 4")))
    with pytest.raises(ValueError, match=r"short\.vtk"):
        read_cell(tmp_path / "short.vtk", dataset="a0")


def test_legacy_files_that_are_no_cells(tmp_path):
    scalars = b"POINT_DATA 12\nSCALARS a int 1\nLOOKUP_TABLE default\n" + b"0 1 " * 6
    good = legacy(b"ASCII", scalars)
    (tmp_path / "a.vtk").write_bytes(good)
    assert read_cell(tmp_path / "a.vtk", periodic="accept").shape == (3, 2, 2)
    for bad in (
        legacy(b"ASCII", scalars, b"SPACING 1 1 2\n"),
        good.replace(b"STRUCTURED_POINTS", b"UNSTRUCTURED_GRID"),
        good.replace(b"12", b"11", 1),
        good.replace(b"DIMENSIONS 3 2 2\n", b""),
        good.replace(b"SCALARS a int", b"SCALARS a quaternion"),
        good.replace(b"SCALARS", b"TENSORS"),
        legacy(b"ASCII", b""),
        b"no vtk",
    ):
        (tmp_path / "b.vtk").write_bytes(bad)
        with pytest.raises(ValueError):
            read_cell(tmp_path / "b.vtk")


def xml(array, compressor="", appended=b"", extent="0 2 0 1 0 1"):
    return (
        f'<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt32" {compressor}>'
        f'<ImageData WholeExtent="{extent}" Spacing="2 2 2"><Piece Extent="{extent}"><PointData>'
    ).encode() + array + b"</PointData></Piece></ImageData>" + appended + b"</VTKFile>"  # fmt: skip


def array(form, text=b"", extra=""):
    return f'<DataArray type="Int16" Name="a" format="{form}" {extra}>'.encode() + text + b"</DataArray>"


def test_xml_files_of_others(tmp_path):
    expected = [[[X_FASTEST[x + 3 * y + 6 * z] for z in range(2)] for y in range(2)] for x in range(3)]
    raw = X_FASTEST.astype("<i2").tobytes()
    head = struct.pack("<I", len(raw))
    blocks = [zlib.compress(raw[:10]), zlib.compress(raw[10:20]), zlib.compress(raw[20:])]
    packed_head = struct.pack("<6I", 3, 10, 4, *map(len, blocks))
    zipped = 'compressor="vtkZLibDataCompressor"'
    tail = b"<AppendedData encoding=%s>\n   _%s\n</AppendedData>"
    files = {
        "ascii": xml(array("ascii", " ".join(map(str, X_FASTEST)).encode())),
        "inline": xml(array("binary", b"\n  " + base64.b64encode(head + raw) + b"\n")),
        "zipped": xml(array("binary", base64.b64encode(packed_head) + base64.b64encode(b"".join(blocks))), zipped),
        "raw": xml(array("appended", extra='offset="3"'), "", tail % (b'"raw"', b"<&>" + head + raw)),
        "raw zipped": xml(
            array("appended", extra='offset="0"'), zipped, tail % (b'"raw"', packed_head + b"".join(blocks))
        ),
        "base64": xml(array("appended", extra='offset="0"'), "", tail % (b'"base64"', base64.b64encode(head + raw))),
    }
    for name, content in files.items():
        (tmp_path / "a.vti").write_bytes(content)
        assert read_cell(tmp_path / "a.vti", periodic="accept").tolist() == expected, name
    for bad in (
        xml(array("ascii", b"0 1")),
        xml(b""),
        xml(array("ascii", b"0 1"), extent="0 2"),
        xml(array("binary", b""), 'compressor="vtkLZ4DataCompressor"'),
        b"<VTKFile",
        b"<VTKFile/>",
    ):
        (tmp_path / "a.vti").write_bytes(bad)
        with pytest.raises(ValueError):
            read_cell(tmp_path / "a.vti")


def test_cells_that_do_not_fit_are_told(tmp_path):
    cut = generate("spinodal", (96, 96), 0.5, wavelength=14.0)[:40, :40]
    path = write_cell(cut, tmp_path / "cut.npy")
    with pytest.warns(NotPeriodicWarning):
        assert read_cell(path).equal(cut)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_cell(path, periodic="accept").equal(cut)
        assert read_cell(path, periodic="mirror").equal(mirrored(cut))
        whole = write_cell(generate("spinodal", (40, 40), 0.5), tmp_path / "whole.npy")
        read_cell(whole)


def test_an_older_file_stays_unless_told_otherwise(tmp_path, monkeypatch):
    path = write_cell(PLANE, tmp_path / "cell.npy")
    with pytest.raises(FileExistsError):
        write_cell(1 - PLANE, path)
    assert read_cell(path, periodic="accept").equal(PLANE)

    def broken(file, *arguments, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", broken)
    with pytest.raises(OSError):
        write_cell(1 - PLANE, path, overwrite=True)
    monkeypatch.undo()
    assert read_cell(path, periodic="accept").equal(PLANE)
    assert list(tmp_path.iterdir()) == [path]
    write_cell(1 - PLANE, path, overwrite=True)
    assert read_cell(path, periodic="accept").equal(1 - PLANE)


def test_grey_images_are_cut_at_the_threshold(tmp_path):
    grey = np.random.default_rng(0).random((12, 12))
    np.save(tmp_path / "grey.npy", grey)
    with pytest.raises(NotBinaryError):
        read_cell(tmp_path / "grey.npy")
    found = read_cell(tmp_path / "grey.npy", threshold=0.3, periodic="accept").numpy()
    assert (found == (grey > 0.3)).all()


def test_refuses_what_it_cannot_read_or_write(tmp_path):
    np.save(tmp_path / "line.npy", np.array([0, 1]))
    np.save(tmp_path / "four.npy", np.zeros((2, 2, 2, 2)))
    np.save(tmp_path / "flat.npy", np.array([[0, 1]]))
    for name in ("line.npy", "four.npy", "flat.npy", "cell.xyz"):
        with pytest.raises(ValueError):
            read_cell(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_cell(tmp_path / "none.png")
    write_cell(PLANE, tmp_path / "cell.png")
    for options in ({"dataset": "a"}, {"index": 0}, {"periodic": "yes"}):
        with pytest.raises(ValueError):
            read_cell(tmp_path / "cell.png", **options)
    for cell, name, options in [
        (PLANE * 0.5, "a.png", {}),
        (torch.zeros(4), "a.png", {}),
        (PLANE, "a.gif", {}),
        (PLANE, "a.stl", {"voxel_size": 0.0}),
        (PLANE, "a.stl", {"thickness": -1.0}),
        (PLANE, "a.stl", {"phase": 2}),
    ]:
        with pytest.raises(ValueError):
            write_cell(cell, tmp_path / name, **options)
    with pytest.raises(FileNotFoundError):
        write_cell(PLANE, tmp_path / "nowhere" / "a.png")


def test_a_picture_that_unpacks_to_gigabytes_is_refused_before_it_is(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    edge = 20_000  # in 50 kB
    rows = zlib.compress(bytes(edge * (1 + edge // 8)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0))
    file = tmp_path / "cell.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"cell\.png"):
        read_cell(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; its pixels would take 400 MB
