"""Language models trained by one, two and four processes: the same losses, checkpoints that each can go on from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.validation
STEPS, STOP = 12, 7

# Ranks are forked from one process that has torch imported, and find what torchrun would have told them.
PROGRAM = f"""
import os, signal, socket
from pathlib import Path
import torch, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor, matplotlib.pyplot
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig, TrainingInterrupted

torch.set_num_threads(1)
RANK = lambda: os.environ.get("RANK", "0")

class Stopping(RunFolder):
    stop = 0
    def log(self, **told):
        super().log(**told)
        if self.stop and told.get("step", 0) == self.stop and "loss" in told and RANK() == "0":
            os.kill(os.getpid(), signal.SIGTERM)  # one process is told to stop, all of them do

def run(folder, distribution, stop):
    training = TrainingConfig(steps={STEPS}, batch=8, accumulation=2, rate=3e-3, warm_up=2, evaluate_every=5,
                              log_every=1, distribution=distribution)
    config = LanguageConfig(TransformerConfig(width=24, layers=2, heads=2), context=16, validation_windows=8,
                            embedding="generated:rank=8,frequent=16", training=training)
    record = Stopping(folder, {{}}, 0)
    record.stop = stop
    train(Tokens("tokens"), config, run=record, samples=False, progress=False)

def ranks(count, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ |= {{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}}
            try:
                run(*arguments)
            except TrainingInterrupted:
                os._exit(3)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [3 if arguments[-1] else 0] * count, ends

texts = Path("texts")
texts.mkdir()
for i in range(40):
    (texts / f"{{i}}.txt").write_text(f"line {{i}} says {{i * i}} and no more\\n" * 20)
write_tokens("tokens", TokenizeConfig(CorpusConfig("texts", validation=0.2, test=0.1)), progress=False)
ranks(1, "one", "ddp", 0)
for count in (2, 4):
    for kind in ("ddp", "fsdp"):
        ranks(count, f"{{count}} {{kind}}", kind, 0)
for first, second in ((4, 1), (1, 4), (2, 4), (4, 2)):
    name = f"{{first}} then {{second}}"
    ranks(first, name, "fsdp" if first > second > 1 else "ddp", {STOP})
    ranks(second, name, "fsdp" if second > first > 1 else "ddp", 0)
"""
KINDS = ("2 ddp", "2 fsdp", "4 ddp", "4 fsdp", "4 then 1", "1 then 4", "2 then 4", "4 then 2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    root = str(Path(__file__).parents[2])
    program = f"import sys; sys.path.insert(0, {root!r})\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path, capture_output=True, text=True, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stderr
    return path


def told(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines if "loss" in line] + [
        line["scores"]["validation_loss"] for line in lines if "scores" in line
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_are_those_of_one_process(folder: Path, kind: str) -> None:
    assert told(folder / kind) == pytest.approx(told(folder / "one"), rel=1e-4)  # float32 sums in another order
