"""Every trainer in one, two and four processes, by torchrun itself too: the same losses, the same checkpoints.

A step has four parts in all, whatever the number of processes and threads: its draws go by the part. Losses and scores
differ by the order of float32 sums. What comes after a training (noise made as loud as a forecaster errs, say) each
process does for itself, and ends with the same bits.
"""

import json
from pathlib import Path

import pytest

from tests.training.ranks import ROOT, run_program

pytestmark = pytest.mark.validation
PARTS, STOP = 4, 3
TRAINERS = (
    "noise forecaster",
    "noise forecaster, AdamW",
    "core",
    "innovations",
    "tokens of frames",
    "janus",
    "cleaner",
    "stress",
    "language",
    "distillation",
    "distillation, spread",
    "adaptation",
    "instruction",
    "facts",
    "chain",
)
# With how many processes each ends.
KINDS = {"launched 2": 2, "launched 4": 4, "in four": 4, "two threads": 1, "two then one": 1, "one then four": 4}
NO_RECORD = ("chain",)
# In SOAP's first bases rounding decides about directions that the first gradient has not, and so about parameters that
# are hardly anything yet. At the rate of the first they count in its losses too.
BY_SOAP = ("noise forecaster", "core", "innovations")
TOLERANCE = {"noise forecaster": 5e-3}

LAUNCHED = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import torch
from separable.training import TrainingInterrupted
from tests.training.tiny_trainers import TRAINERS, trained

torch.set_num_threads(1)
processes = int(sys.argv[1])
for name in TRAINERS:
    trained(name, Path(name, f"launched {{processes}}"), {PARTS} // processes)
try:
    if processes == 2:
        trained("language", Path("told to stop"), {PARTS} // processes, {STOP}, launcher=True)
except TrainingInterrupted:
    Path("told to stop", "stopped").touch()
"""

PROGRAM = f"""
import subprocess, sys
from pathlib import Path
import torch, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor, matplotlib.pyplot
from tests.training.ranks import ranks
from tests.training.tiny_trainers import TRAINERS, trained, write_corpus

torch.set_num_threads(1)

def run(processes, name, kind, stop=0, threads=1):
    def work():
        torch.set_num_threads(threads)
        trained(name, Path(name, kind), {PARTS} // processes, stop)

    ranks(processes, work, stopped=bool(stop))

write_corpus()
Path("launched.py").write_text({LAUNCHED!r})
launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
subprocess.run([*launcher, "4", "launched.py", "4"], check=True)
subprocess.run([*launcher, "2", "launched.py", "2"], check=False)  # ends by the signal that the last training sends it
assert Path("told to stop", "stopped").exists()
ranks(1, lambda: trained("language", Path("told to stop"), {PARTS}))
for name in TRAINERS:
    run(1, name, "in one")
    run(4, name, "in four")
    run(1, name, "two threads", threads=2)
    if name not in {NO_RECORD!r}:
        run(2, name, "two then one", {STOP})
        run(1, name, "two then one")
        run(1, name, "one then four", {STOP})
        run(4, name, "one then four")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trainers")
    run_program(PROGRAM, path, 3600)
    return path


def told(folder: Path) -> list[float]:
    """All losses and scores of the record, those of a stage before included."""
    found = []
    for file in sorted(folder.rglob("metrics.jsonl")):
        for line in map(json.loads, file.read_text().splitlines()):
            found += [line["loss"]] if "loss" in line else line["scores"].values()
    return found


def ends(folder: Path) -> list[dict[str, object]]:
    """What each process had at the end."""
    from safetensors.torch import load_file

    return [
        {
            f"{file.stem}/{key}": value
            for file in sorted(end.rglob("*.safetensors"))
            for key, value in load_file(file).items()
        }
        for end in sorted((folder / "ends").iterdir())
    ]


def test_the_table_is_whole() -> None:
    from tests.training import tiny_trainers

    assert tuple(tiny_trainers.TRAINERS) == TRAINERS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in TRAINERS if name not in NO_RECORD])
def test_the_losses_are_those_of_one_process(folder: Path, name: str, kind: str) -> None:
    one = told(folder / name / "in one")
    assert len(one) > 1
    assert told(folder / name / kind) == pytest.approx(one, rel=TOLERANCE.get(name, 1e-4), abs=1e-6)  # gains start at 0


def test_torchrun_told_to_stop_leaves_a_checkpoint_that_one_process_goes_on_from(folder: Path) -> None:
    assert told(folder / "told to stop") == pytest.approx(told(folder / "language" / "in one"), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRAINERS)
def test_every_process_ends_with_the_same_bits_near_those_of_one(folder: Path, name: str, kind: str) -> None:
    if name in NO_RECORD and "then" in kind:
        pytest.skip("keeps no checkpoint")
    first, *others = ends(folder / name / kind)
    assert len(others) == KINDS[kind] - 1
    assert all((end[key] == first[key]).all() for end in others for key in first)
    (one,) = ends(folder / name / "in one")
    assert one.keys() == first.keys()
    for key, value in one.items() if name not in BY_SOAP else ():
        apart = (value.double() - first[key].double()).norm()
        assert float(apart) <= 1e-2 * max(float(value.double().norm()), 1e-3), key
