"""Make `sample.jsonl`, or the same at another place: ``python datasets/arithmetic_chains/generate.py [file]``."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from domains.language.reversal.arithmetic import ArithmeticConfig, ArithmeticTask, arithmetic_task

SAMPLE = Path(__file__).with_name("sample.jsonl")
CONFIG = ArithmeticConfig(modulus=61, branching=5, problems=5)


def lines(task: ArithmeticTask) -> Iterator[str]:
    """A fact a line, with the part that it is of."""
    parts = [("core", task.core), *((f"tree {i}", tree) for i, tree in enumerate(task.trees)), ("answer", task.answers)]
    for part, facts in parts:
        for fact in facts:
            yield json.dumps({**fact._asdict(), "part": part}) + "\n"


def main(path: Path = SAMPLE) -> Path:
    """Write the file; it replaces an older one whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(lines(arithmetic_task(CONFIG))), encoding="utf-8")
    temporary.replace(path)
    return path


if __name__ == "__main__":
    print(main(*(Path(argument) for argument in sys.argv[1:2])))
