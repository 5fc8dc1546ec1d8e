"""Language models trained by one, two and four processes: the same losses, checkpoints that each can go on from."""

import json
from pathlib import Path

import pytest

from tests.training.ranks import run_program

pytestmark = pytest.mark.validation
STEPS, STOP = 12, 7

PROGRAM = f"""
from pathlib import Path
import torch, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor, matplotlib.pyplot
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import TransformerConfig
from separable.training import TrainingConfig
from tests.training.ranks import ranks
from tests.training.stopping import Stopping

torch.set_num_threads(1)

def run(folder, distribution, stop):
    training = TrainingConfig(steps={STEPS}, batch=8, accumulation=2, rate=3e-3, warm_up=2, evaluate_every=5,
                              log_every=1, distribution=distribution)
    config = LanguageConfig(TransformerConfig(width=24, layers=2, heads=2), context=16, validation_windows=8,
                            embedding="generated:rank=8,frequent=16", training=training)
    train(Tokens("tokens"), config, run=Stopping(Path(folder), stop), samples=False, progress=False)

def in_processes(count, *arguments):
    ranks(count, lambda: run(*arguments), stopped=bool(arguments[-1]))

texts = Path("texts")
texts.mkdir()
for i in range(40):
    (texts / f"{{i}}.txt").write_text(f"line {{i}} says {{i * i}} and no more\\n" * 20)
write_tokens("tokens", TokenizeConfig(CorpusConfig("texts", validation=0.2, test=0.1)), progress=False)
in_processes(1, "one", "ddp", 0)
for count in (2, 4):
    for kind in ("ddp", "fsdp"):
        in_processes(count, f"{{count}} {{kind}}", kind, 0)
for first, second in ((4, 1), (1, 4), (2, 4), (4, 2)):
    name = f"{{first}} then {{second}}"
    in_processes(first, name, "fsdp" if first > second > 1 else "ddp", {STOP})
    in_processes(second, name, "fsdp" if second > first > 1 else "ddp", 0)
"""
KINDS = ("2 ddp", "2 fsdp", "4 ddp", "4 fsdp", "4 then 1", "1 then 4", "2 then 4", "4 then 2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    run_program(PROGRAM, path, 3600)
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
