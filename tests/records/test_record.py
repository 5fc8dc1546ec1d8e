"""What is read of folders, compared with what was written into them."""

import math
import struct

import numpy as np
import pytest
import safetensors.numpy
import torch

from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer
from separable.records import FolderKind, find_runs, read_run
from separable.records.tensors import count_numbers, tensor_shapes
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import RunFolder, TrainingConfig, adamw
from separable.training.checkpoint import save_checkpoint


def test_a_run_folder_tells_what_was_written(tmp_path):
    run = RunFolder(tmp_path / "run", {"rank": 4, "training": {"steps": 10}}, seed=3)
    run.log(step=1, loss=2.0)
    run.log(step=2, loss=1.0)
    run.log(step=2, scores={"error": 0.5}, sample="text", done=True, wrong=float("nan"))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # cut off by a crash
    found = read_run(run.path)
    assert found.settings == {"rank": 4, "training": {"steps": 10}}
    assert found.environment["seed"] == 3
    last = found.last()
    assert math.isnan(last.pop("wrong"))
    assert last == {"step": 2, "loss": 1.0, "scores.error": 0.5}
    assert set(found.files) == {"config.json", "environment.json", "metrics.jsonl"}
    assert found.files["config.json"] == (run.path / "config.json").stat().st_size
    assert [kind.name for kind in found.kinds] == ["run folder"]
    assert found.numbers is None


def test_saved_models_are_told_apart_and_counted(tmp_path):
    layer = SeparableLayer(3, 2, atoms=BSpline(intervals=4), interaction=CanonicalPolyadic(rank=3))
    layer.save(tmp_path / "layer")
    model = LanguageModel(LanguageModelConfig(50, TransformerConfig(width=16, layers=1, heads=2)))
    run = RunFolder(tmp_path / "run", {"seed": 0}, seed=0)
    model.save(run.path / "model")
    assert [kind.name for kind in read_run(tmp_path / "layer").kinds] == ["separable layer"]
    assert read_run(tmp_path / "layer").numbers == sum(value.numel() for value in layer.state_dict().values())
    found = read_run(run.path)
    assert found.parts["model"].name == "language model"
    assert found.numbers == sum(value.numel() for value in model.state_dict().values())
    below = {path.relative_to(tmp_path).as_posix(): kinds[0].name for path, kinds in find_runs(tmp_path)}
    assert below == {"layer": "separable layer", "run": "run folder"}


def test_a_kind_of_a_domain_comes_first_and_its_commands_name_the_folder(tmp_path):
    run = RunFolder(tmp_path / "run", {"seed": 0}, seed=0)
    (run.path / "brain.json").write_text('{"kind": "Brain"}')
    brain = FolderKind("brain", ("brain.json",), "brain.json", says=(("kind", "Brain"),), uses=("think RUN",))
    other = FolderKind("heart", ("brain.json",), "brain.json", says=(("kind", "Heart"),))
    found = read_run(run.path, (other, brain))
    assert found.name == "brain, run folder"
    assert found.uses == (f"think {run.path}",)


def test_of_a_checkpoint_only_the_model_is_counted(tmp_path):
    module = torch.nn.Linear(3, 2)
    optimiser = adamw(module, TrainingConfig(steps=1))
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    save_checkpoint(tmp_path / "last.safetensors", module, optimiser, {"step": 1})
    assert count_numbers(tmp_path / "last.safetensors") == 3 * 2 + 2


def test_shapes_agree_with_the_reader_of_the_format(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"t{i}": np.zeros(rng.integers(0, 5, size=i), np.float32) for i in range(5)}
    safetensors.numpy.save_file(tensors, tmp_path / "a.safetensors", {"note": "text"})
    assert tensor_shapes(tmp_path / "a.safetensors") == {name: value.shape for name, value in tensors.items()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 5,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b'{"a": 3}',
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 60) + b"[" * 60,
    ],
)
def test_a_damaged_file_of_tensors_is_refused_and_a_run_that_holds_one_is_still_told(tmp_path, content):
    run = RunFolder(tmp_path, {"seed": 0}, seed=0)
    (run.path / "best.safetensors").write_bytes(content)
    with pytest.raises(ValueError):
        tensor_shapes(run.path / "best.safetensors")
    assert read_run(run.path).parameters == {"best.safetensors": -1}


def test_a_file_of_tensors_that_was_cut_off_is_refused(tmp_path):
    file = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(100)}, file)
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            count_numbers(file)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "none")
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "file")
    with pytest.raises(ValueError):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": ' * 5000, b"null"])
def test_damaged_settings_are_refused_with_the_name_of_the_file(tmp_path, content):
    run = RunFolder(tmp_path / "run", {"seed": 0}, seed=0)
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_run(run.path)
    assert [path.name for path, _ in find_runs(tmp_path)] == ["run"]


def test_hidden_folders_and_links_are_not_followed(tmp_path):
    RunFolder(tmp_path / "runs" / "a", {"seed": 0}, seed=0)
    RunFolder(tmp_path / "runs" / ".hidden", {"seed": 0}, seed=0)
    (tmp_path / "runs" / "round").symlink_to(tmp_path / "runs", target_is_directory=True)
    assert [path.name for path, _ in find_runs(tmp_path / "runs")] == ["a"]
    assert find_runs(tmp_path / "none") == []
