"""The command as a user types it: from nothing to designed cells on disk, and what is refused."""

import json

import matplotlib
import numpy as np
import pytest
import torch

from domains.command_line import main
from domains.microstructure.cells import generate
from domains.microstructure.commands import parse_targets
from domains.microstructure.data import read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.images import mirrored, otsu, read_cell, write_cell
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.properties import read_properties
from domains.microstructure.refine import NotPositiveError, refine

matplotlib.use("Agg")

GENERATE = ["--config.size", "16", "16", "--config.count", "60", "--config.feature", "0.4", "0.7", "--processes", "1"]
TRAIN = ["--config.steps", "60", "--config.batch", "8", "--latent", "4", "--width", "4"]
TARGETS = ["--target", "conductivity_xx=0.4", "--target", "youngs_y=0.35", "--volume-fraction", "0.55", "--count", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set and a model made by the commands."""
    folder = tmp_path_factory.mktemp("commands")
    assert main(["microstructure", "generate", str(folder / "cells.h5"), *GENERATE]) == 0
    assert main(["microstructure", "train", str(folder / "cells.h5"), "--run", str(folder / "model"), *TRAIN]) == 0
    return folder


def design(folder, out, *options):
    return main(["microstructure", "design", *options, "--run", str(folder / "model"), "--out", str(folder / out)])


def test_data_and_model_are_there_and_a_second_run_leaves_them(folder):
    assert len(read_data(folder / "cells.h5")) == 60
    before = (folder / "cells.h5").read_bytes(), (folder / "model" / "janus.safetensors").read_bytes()
    assert main(["microstructure", "generate", str(folder / "cells.h5"), *GENERATE]) == 0
    assert main(["microstructure", "train", str(folder / "cells.h5"), "--run", str(folder / "model"), *TRAIN]) == 0
    assert before == ((folder / "cells.h5").read_bytes(), (folder / "model" / "janus.safetensors").read_bytes())
    assert len(Designer.load(folder / "model").library) == 54


def test_designs_are_written_with_the_solvers_values(folder):
    assert design(folder, "designs", *TARGETS, "--formats", "png", "h5", "stl") == 0
    lines = [json.loads(line) for line in (folder / "designs" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(list((folder / "designs").glob("design_*.png"))) in (1, 2)
    for number, line in enumerate(lines, 1):
        cell = read_cell(folder / "designs" / f"design_{number}.png", periodic="accept")
        assert torch.equal(cell, read_cell(folder / "designs" / f"design_{number}.h5", periodic="accept"))
        assert float(cell.mean()) == line["volume fraction"] == 141 / 256
        values = read_properties(Materials().solve(cell[None]), ["conductivity_xx", "youngs_y"])[0]
        assert [line["conductivity_xx"], line["youngs_y"]] == pytest.approx(values.tolist(), rel=1e-4)
        assert float(line["youngs_y off by"].rstrip("%")) == pytest.approx(
            100 * (line["youngs_y"] / 0.35 - 1), abs=0.01
        )
        assert (folder / "designs" / f"design_{number}.stl").stat().st_size > 84
    assert "data:image/png" in (folder / "designs" / "report.html").read_text()


def test_refined_designs_are_nearer(folder):
    off = {}
    for name, options in (("plain", ()), ("refined", ("--refined",))):
        assert design(folder, name, *TARGETS, *options) == 0
        lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        off[name] = [max(abs(line["conductivity_xx"] / 0.4 - 1), abs(line["youngs_y"] / 0.35 - 1)) for line in lines]
    assert all(better < 0.5 * worse for better, worse in zip(off["refined"], off["plain"], strict=True))


def made(folder, size):
    """A designer that has learned nothing, in a folder of its own."""
    torch.manual_seed(0)
    cells = torch.stack([generate("spinodal", size, 0.5, seed=seed, wavelength=8.0) for seed in range(6)])
    phases = Materials(young=None)
    values = read_properties(phases.solve(cells.float()), ["conductivity_xx"])
    model = Janus(JanusConfig(size, ("conductivity_xx",), latent=4, width=4), values.log().mean(0), values.log().std(0))
    Designer(model, Library(cells.byte(), values, torch.full((6,), 0.5), phases)).save(folder / "model")
    return folder


def test_designs_of_three_dimensions_are_written_in_formats_that_hold_them(tmp_path):
    made(tmp_path, (16, 16, 16))
    arguments = ["--target", "conductivity_xx=0.35", "--count", "1"]
    assert design(tmp_path, "designs", *arguments) == 0
    found = [read_cell(tmp_path / "designs" / f"design_1.{suffix}", periodic="accept") for suffix in ("vti", "h5")]
    assert torch.equal(*found)
    line = json.loads((tmp_path / "designs" / "metrics.jsonl").read_text())
    value = read_properties(Materials(young=None).solve(found[0][None]), ["conductivity_xx"])
    assert line["conductivity_xx"] == pytest.approx(float(value), rel=1e-4)
    assert design(tmp_path, "flat", *arguments, "--formats", "h5", "png") == 1
    assert design(tmp_path, "photograph", *arguments, "--formats", "jpg") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model", "designs"}  # refused before anything is made


def test_a_folder_holds_the_designs_of_one_question(tmp_path, monkeypatch):
    made(tmp_path, (16, 16))
    arguments = ["--target", "conductivity_xx=0.35", "--count", "2"]
    assert design(tmp_path, "designs", *arguments) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "designs").glob("design_*")}
    assert design(tmp_path, "designs", *arguments) == 0
    lines = [json.loads(line) for line in (tmp_path / "designs" / "metrics.jsonl").read_text().splitlines()]
    assert [line["design"] for line in lines] == [1, 2]
    config = json.loads((tmp_path / "designs" / "config.json").read_text())
    assert config["count"] == 2
    assert not config["refined"]
    monkeypatch.setattr("domains.microstructure.commands.refine", lambda *_: pytest.fail("work that would be lost"))
    for other in (["--refined"], ["--count", "1"], ["--symmetry", "mirror"], ["--connected"]):
        assert design(tmp_path, "designs", *arguments, *other) == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "designs").glob("design_*")} == before


def test_a_design_without_flow_is_left_as_it_is_and_the_others_are_refined(tmp_path, monkeypatch, capsys):
    made(tmp_path, (16, 16))
    arguments = ["--target", "conductivity_xx=0.35", "--count", "2"]
    assert design(tmp_path, "plain", *arguments) == 0
    given = []

    def blocked_at_first(cell, *others, **options):
        given.append(cell)
        if len(given) == 1:
            raise NotPositiveError("conductivity_xx: expected a cell in which it is positive, got 0")
        return refine(cell, *others, **options)

    monkeypatch.setattr("domains.microstructure.commands.refine", blocked_at_first)
    assert design(tmp_path, "refined", *arguments, "--refined") == 0
    assert "design 1 is left as it is: conductivity_xx" in capsys.readouterr().out
    plain, refined = (
        [read_cell(tmp_path / name / f"design_{number}.h5", periodic="accept") for number in (1, 2)]
        for name in ("plain", "refined")
    )
    assert torch.equal(plain[0], refined[0])
    off = [
        abs(float(read_properties(Materials(young=None).solve(c[1][None]), ["conductivity_xx"])) - 0.35)
        for c in (plain, refined)
    ]
    assert off[1] < off[0]


def test_refined_designs_keep_their_symmetry(tmp_path):
    made(tmp_path, (16, 16))
    arguments = ["--target", "conductivity_xx=0.35", "--count", "2", "--symmetry", "cubic", "--refined"]
    assert design(tmp_path, "designs", *arguments) == 0
    for number in (1, 2):
        cell = read_cell(tmp_path / "designs" / f"design_{number}.h5", periodic="accept")
        for image in (cell.flip(0), cell.flip(1), cell.T):
            assert torch.equal(image, cell)


def test_designs_start_from_images(folder, recwarn):
    cell = generate("schwarz_p", (16, 16, 16), 0.4)[..., 0]
    write_cell(cell, folder / "mine.png")
    assert (
        design(folder, "from_image", str(folder / "mine.png"), "--target", "conductivity_xx=0.3", "--count", "1") == 0
    )
    assert (folder / "from_image" / "design_1.png").exists()


def test_solve_prints_what_the_solver_says(folder, capsys):
    cell = generate("spinodal", (16, 16), 0.5, seed=1, wavelength=8.0)
    write_cell(cell, folder / "image.npy")
    arguments = ["microstructure", "solve", str(folder / "image.npy"), "--materials.conductivities", "0.5", "2"]
    assert main(arguments) == 0
    value = float(read_properties(Materials(conductivities=(0.5, 2.0)).solve(cell[None]), ["conductivity_yy"]))
    assert f"{value:.4g}" in capsys.readouterr().out


def test_grey_and_segmented_images_are_solved_as_they_are_told(tmp_path, capsys):
    grey = np.random.default_rng(0).random((16, 16))
    np.save(tmp_path / "grey.npy", grey)
    np.save(tmp_path / "labels.npy", np.digitize(grey, (0.3, 0.6)))
    conduction = ["--materials.young", "None"]
    assert main(["microstructure", "solve", str(tmp_path / "grey.npy"), *conduction]) == 1  # more than two values
    for name, options, solid in (
        ("grey", ["--threshold", "0.6"], grey > 0.6),
        ("grey", ["--threshold", "0.6", "--phase", "dark", "--periodic", "accept"], grey <= 0.6),
        ("grey", ["--threshold", "otsu", "--periodic", "mirror"], mirrored(torch.from_numpy(grey > otsu(grey)))),
        ("labels", ["--phase", "1"], (grey >= 0.3) & (grey < 0.6)),
    ):
        capsys.readouterr()
        assert main(["microstructure", "solve", str(tmp_path / f"{name}.npy"), *options, *conduction]) == 0
        columns = Materials(young=None).solve(torch.as_tensor(solid)[None])
        value = float(read_properties(columns, ["conductivity_yy"]))
        assert f"conductivity_yy {value:.4g}" in capsys.readouterr().out


def test_what_cannot_be_done_ends_with_one(folder, tmp_path):
    assert design(folder, "a", "--target", "conductivity_xx=1.2") == 1
    assert design(folder, "b", "--target", "youngs_y=0.6", "--volume-fraction", "0.3") == 1
    assert design(folder, "c", "--target", "hardness=1") == 1
    assert design(folder, "d", "--target", "conductivity_xx") == 1
    assert design(folder, "e") == 1
    assert design(tmp_path, "f", "--target", "conductivity_xx=0.4") == 1  # no model
    assert not [path for path in folder.iterdir() if path.name in "abcdef"]
    assert main(["microstructure", "train", str(tmp_path / "none.h5"), "--run", str(tmp_path / "run")]) == 1
    assert main(["microstructure", "solve"]) == 1
    write_cell(generate("spinodal", (24, 24), 0.5), tmp_path / "large.png")
    assert design(folder, "g", str(tmp_path / "large.png"), "--target", "conductivity_xx=0.4") == 1


def test_no_connected_design_is_told(folder, monkeypatch):
    monkeypatch.setattr("domains.microstructure.design.is_connected", lambda cell, phase: False)
    assert design(folder, "none", *TARGETS, "--connected") == 1
    assert not (folder / "none").exists()


def test_another_data_set_does_not_go_on_with_the_run(folder, tmp_path):
    other = [*GENERATE, "--config.seed", "5"]
    assert main(["microstructure", "generate", str(tmp_path / "cells.h5"), *other]) == 0
    before = (folder / "model" / "janus.safetensors").read_bytes()
    assert main(["microstructure", "train", str(tmp_path / "cells.h5"), "--run", str(folder / "model"), *TRAIN]) == 1
    assert (folder / "model" / "janus.safetensors").read_bytes() == before


def test_a_training_that_blows_up_ends_with_one(folder, tmp_path):
    arguments = ["microstructure", "train", str(folder / "cells.h5"), "--run", str(tmp_path), "--config.rate", "1e25"]
    assert main([*arguments, *TRAIN]) == 1


def test_what_is_not_understood_ends_with_two():
    assert main([]) == 2
    assert main(["cheese"]) == 2
    assert main(["microstructure", "cook"]) == 2
    assert main(["--help"]) == 0
    assert main(["microstructure", "--help"]) == 0
    with pytest.raises(SystemExit):
        main(["microstructure", "generate", "--no-such-option"])


@pytest.mark.parametrize("texts", [("youngs_y",), ("youngs_y=stiff",), ("a=1", "a=2"), ()])
def test_targets_that_say_nothing(texts):
    with pytest.raises(ValueError):
        parse_targets(texts)
