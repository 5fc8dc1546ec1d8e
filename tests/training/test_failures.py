"""What stops a training is told, and the checkpoint that was there stays whole."""

import contextlib
import errno
import os
import resource
import signal
import socket
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from separable.atomic_files import replacing
from separable.files import write_tensors
from separable.training import RunFolder, ShuffledRows, TrainingConfig, load_weights, run_training
from separable.training.run_lock import sole_user
from tests.reliability.killing import start

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
CONFIG = TrainingConfig(steps=20, batch=8, checkpoint_every=5, evaluate_every=100)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def stream() -> ShuffledRows:
    return ShuffledRows(32, lambda rows: X[rows])


def squares(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def failing(at: int, failure) -> object:
    calls = 0

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return failure(model, batch) if calls > at else squares(model, batch)

    return loss


def check_the_checkpoint(run: RunFolder, step: int) -> None:
    """The last checkpoint is that of a training that ended after as many steps."""
    expected = network()
    calls = 0

    def counted(model: nn.Module, batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > step:
            raise InterruptedError
        return squares(model, batch)

    with pytest.raises(InterruptedError):
        run_training(expected, counted, stream(), CONFIG, progress=False)
    found = nn.Linear(3, 2)
    load_weights(run.path / "last.safetensors", found)
    assert torch.equal(found.weight, expected.weight)
    assert not [name for name in os.listdir(run.path) if name.startswith(".last")]


def not_a_number(model: nn.Module, batch: Tensor) -> Tensor:
    return squares(model, batch) * float("nan")


def no_gradient(model: nn.Module, batch: Tensor) -> Tensor:
    return (model.weight * 0).sum().abs().sqrt()  # zero, with an infinite slope times zero


def no_memory(model: nn.Module, batch: Tensor) -> Tensor:
    return squares(model, batch) + torch.empty(2**56)[0]


def no_memory_on_a_gpu(model: nn.Module, batch: Tensor) -> Tensor:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (not_a_number, FloatingPointError),
        (no_gradient, FloatingPointError),
        (no_memory, MemoryError),
        (no_memory_on_a_gpu, MemoryError),
    ],
)
def test_a_failing_step_leaves_the_last_checkpoint(tmp_path: Path, failure, error) -> None:
    run = RunFolder(tmp_path / "run", CONFIG, 0)
    with pytest.raises(error) as told:
        run_training(network(), failing(12, failure), stream(), CONFIG, run=run, progress=False)
    assert str(run.path) in str(told.value)
    assert "step 12" in str(told.value)
    check_the_checkpoint(run, 10)


def interrupted(model: nn.Module, batch: Tensor) -> Tensor:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [not_a_number, no_memory, interrupted])
def test_a_failed_training_leaves_nothing_to_the_next_of_its_model(failure) -> None:
    config = TrainingConfig(steps=3, batch=8, accumulation=2)
    failed, new = network(), network()
    with pytest.raises((FloatingPointError, MemoryError, KeyboardInterrupt)):
        run_training(failed, failing(1, failure), stream(), config, progress=False)  # with half of the gradient
    assert torch.equal(failed.weight, new.weight)
    for model in (failed, new):
        run_training(model, squares, stream(), config, progress=False)
    assert torch.equal(failed.weight, new.weight)


def test_an_error_of_the_users_own_stays_what_it_is() -> None:
    def wrong(model: nn.Module, batch: Tensor) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run_training(network(), wrong, stream(), CONFIG, progress=False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_or_a_locked_one_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch, number: int) -> None:
    run = RunFolder(tmp_path / "run", CONFIG, 0)
    save, calls = safetensors.torch.save_file, 0

    def full(tensors, file, metadata=None) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # after those of steps 0, 5 and 10
            Path(file).write_bytes(b"half of it")
            raise OSError(number, os.strerror(number))
        save(tensors, file, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError) as told:
        run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    assert os.strerror(number) in str(told.value)
    assert "last.safetensors" in str(told.value)
    check_the_checkpoint(run, 10)
    result = run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    assert result.steps == 20


@pytest.mark.parametrize("wrong", ["weight", "name", "progress"])
def test_a_checkpoint_that_was_changed_is_refused(tmp_path: Path, wrong: str) -> None:
    run = RunFolder(tmp_path / "run", CONFIG, 0)
    run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    path = tmp_path / "run" / "last.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, header)
    load_weights(path, network())  # written again as it was
    if wrong == "weight":
        tensors["model/weight"][0, 0] += 1e-3
    elif wrong == "name":
        tensors["optimiser/weight/other"] = tensors.pop("optimiser/weight/exp_avg")
    else:
        header["training"] = header["training"].replace('"step": 20', '"step": 10')
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(ValueError, match=r"last\.safetensors"):
        load_weights(path, network())
    without = {name: text for name, text in header.items() if name != "checksum"}
    safetensors.torch.save_file(tensors, path, without)  # as older versions wrote them
    load_weights(path, network())


class Buffers(nn.Linear):
    """With infinite numbers, numbers of eight bits, and memory that names share."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
        self.register_buffer("narrow", torch.tensor([0.5, torch.nan]).to(torch.float8_e4m3fn))
        self.register_buffer("first", self.mask[:2])
        self.register_buffer("alias", self.weight.detach())


def test_checkpoints_hold_buffers_of_any_kind(tmp_path: Path) -> None:
    run, models = RunFolder(tmp_path, CONFIG, 0), []
    for steps, kept in ((20, None), (10, run), (20, run)):
        torch.manual_seed(0)
        models.append(Buffers())
        config = TrainingConfig(steps=steps, batch=8, decay="constant", warm_up=0)
        run_training(models[-1], squares, stream(), config, run=kept, progress=False)
    torch.manual_seed(1)
    found, (whole, _, cut) = Buffers(), models
    path = tmp_path / "last.safetensors"
    load_weights(path, found)
    for name, value in whole.state_dict().items():
        for other in (cut, found):
            assert torch.equal(other.state_dict()[name].view(torch.uint8), value.view(torch.uint8)), name
    with safetensors.safe_open(path, framework="pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del header["checksum"]  # which vouches for what is not finite
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(ValueError, match=r"last\.safetensors"):
        load_weights(path, found)


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch) -> None:
    run = RunFolder(tmp_path / "run", CONFIG, 0)

    def full(self: RunFolder, **measurements: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", full)
        with pytest.raises(OSError) as told:
            run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    assert str(run.path) in str(told.value)
    check_the_checkpoint(run, 5)
    assert run_training(network(), squares, stream(), CONFIG, run=run, progress=False).steps == 20


def test_a_file_that_may_not_grow_is_told(tmp_path: Path) -> None:
    config = TrainingConfig(steps=2, batch=8)
    run = RunFolder(tmp_path, config, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError) as told:
            run_training(nn.Linear(3, 20_000), squares, stream(), config, run=run, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "last.safetensors" in str(told.value)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, CONFIG, 0)
    with sole_user(tmp_path), pytest.raises(RuntimeError) as told:
        run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    assert str(os.getpid()) in str(told.value)
    assert run_training(network(), squares, stream(), CONFIG, run=run, progress=False).steps == 20


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Killed in the middle of its writing, by safetensors in a file that is named at random, and by another one."""
    (tmp_path / "figures").mkdir()
    names = ("last.safetensors", "figures/curve.png")

    def killed() -> None:
        with sole_user(tmp_path), contextlib.ExitStack() as stack:
            for name in names:
                temporary = stack.enter_context(replacing(tmp_path / name))
                temporary.touch()
                temporary.with_name(".tmpA1b2C3").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    child = start(killed)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    machine = socket.gethostname()
    halves = [(tmp_path / name).with_name(f".{Path(name).name}.{machine}-{child}") for name in names]
    assert all((half / ".tmpA1b2C3").exists() for half in halves)
    others = [tmp_path / f".config.json.{machine}-{child + 1}", tmp_path / f".config.json.other-{child}"]
    others += [tmp_path / name for name in (f"notes.{machine}-{child}", ".kept", ".tmpA1b2C3")]
    for file in others:
        file.touch()
    with sole_user(tmp_path):
        assert not any(half.exists() for half in halves)
    for damaged in (b"*", b"*-1", b"", b"\xff", bytes(600)):
        (tmp_path / ".lock").write_bytes(damaged)
        with sole_user(tmp_path):
            assert all(file.exists() for file in others)


def test_others_may_read_what_they_may_by_the_users_mask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "model.safetensors", network().state_dict())
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_damaged_and_other_checkpoints_are_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, CONFIG, 0)
    run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
    file = tmp_path / "last.safetensors"
    for other in (nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2))):
        with pytest.raises(ValueError) as told:
            load_weights(file, other)
        assert str(file) in str(told.value)
    with pytest.raises(ValueError):
        run_training(network(), squares, ShuffledRows(31, lambda rows: X[rows]), CONFIG, run=run, progress=False)
    whole = file.read_bytes()
    for damaged in (whole[:-10], b"", b"nonsense" * 4):
        file.write_bytes(damaged)
        with pytest.raises(ValueError) as told:
            run_training(network(), squares, stream(), CONFIG, run=run, progress=False)
        assert str(file) in str(told.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"steps": -1},
        {"minutes": float("inf")},
        {"minutes": 1.0, "clock": "sun"},
        {"steps": 1, "evaluations": -1},
        {"steps": 1, "batch": 0},
        {"steps": 1, "accumulation": 0},
        {"steps": 1, "rate": 0.0},
        {"steps": 1, "rate": float("nan")},
        {"steps": 1, "clip": -1.0},
        {"steps": 1, "floor": 1.5},
        {"steps": 1, "betas": (0.9, 1.0)},
        {"steps": 1, "decay": "exponential"},
        {"steps": 1, "precision": "float16"},
        {"steps": 1, "distribution": "pipeline"},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields) -> None:
    with pytest.raises(ValueError):
        TrainingConfig(**fields)


def test_a_batch_that_does_not_divide_and_a_model_without_parameters_are_refused() -> None:
    config = TrainingConfig(steps=1, batch=8, accumulation=3)
    with pytest.raises(ValueError):
        run_training(network(), squares, stream(), config, progress=False)
    with pytest.raises(ValueError):
        run_training(nn.Tanh(), squares, stream(), CONFIG, progress=False)
