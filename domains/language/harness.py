"""lm-evaluation-harness scores a model of ours: its command `lm_eval`, told of our class and of a run folder.

::

    python -m domains.language.harness RUN [what `lm_eval run` takes: --tasks, --include_path, --limit, ...]

The model and its tokeniser are written to ``RUN/hugging_face`` first. What follows the run is handed over as it is;
the model, and the processor unless ``--device`` says otherwise, are filled in.

Needs the extra ``huggingface``, the packages `tokenizers` and `lm_eval[hf]`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = "hugging_face"


def arguments(run: str | Path, others: Sequence[str] = ()) -> list[str]:
    """The arguments of `lm_eval` for the model that a training has left, which is written for transformers.

    Args:
        run: the folder of the training.
        others: arguments of `lm_eval run`.

    Raises:
        FileNotFoundError: the training has left no model.
        ValueError: its files are damaged.
    """
    from domains.language.hugging_face import export

    folder = export(run, Path(run) / FOLDER)
    device = [] if "--device" in others else ["--device", "cpu"]
    return ["run", "--model", "hf", "--model_args", f"pretrained={folder}", *device, *others]


def main() -> None:
    """Run the harness."""
    try:
        from lm_eval.__main__ import cli_evaluate
    except ModuleNotFoundError:
        sys.exit("lm_eval is not installed: pip install 'lm_eval[hf]'")
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if {"-h", "--help"} & {*sys.argv} else 2)
    try:
        sys.argv = ["lm_eval", *arguments(sys.argv[1], sys.argv[2:])]
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    cli_evaluate()


if __name__ == "__main__":
    main()
