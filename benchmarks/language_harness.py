"""lm-evaluation-harness scores a small model of ours, beside scores from the model's own probabilities.

A model of byte pairs is trained for some hundred steps on the documentation strings of the standard library. From
strings it has not seen come three tasks in local files: bits a byte of whole documents, which of four sentences follows
a beginning, and the sentence that does. The harness runs as its users run it; the other side reads the tokens of a
request, one request at a time, and adds up log-probabilities in float64.

    python -m benchmarks.language_harness        where `lm_eval[hf]` and the extras language and huggingface are
"""

import importlib.util
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import CorpusConfig, documents
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import Tokeniser, load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.sequence import LanguageModel, TransformerConfig
from separable.training import RunFolder, TrainingConfig

FOLDER = STUDIES / "language/harness"
STEPS, QUESTIONS = usual((300, 100), trial=(20, 8))
CORPUS = CorpusConfig("docstrings")
CONTEXT, CHOICES, TOLERANCE = 128, 4, 1e-4  # of nats, for each nat of a request beyond the first
SETTINGS = {
    "own_text": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
    "metric_list: [{metric: bits_per_byte}]\n",
    "own_choice": "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
    "doc_to_target: '{{answer}}'\ntarget_delimiter: ''\nmetric_list: [{metric: acc}]\n",
    "own_continuation": "output_type: loglikelihood\ndoc_to_text: '{{question}}'\n"
    "doc_to_target: '{{choices[answer]}}'\ntarget_delimiter: ''\nmetric_list: [{metric: perplexity}]\n",
}


def trained(folder: Path, steps: int) -> Path:
    """The run folder of a small model, trained if it is not there."""
    tokens = Tokens(write_tokens(folder / "tokens", TokenizeConfig(CORPUS, vocabulary=1024)))
    config = LanguageConfig(
        TransformerConfig(width=64, layers=2, heads=2),
        embedding="generated:seed_dim=16,heads=2,rank=16",
        context=CONTEXT,
        training=TrainingConfig(steps=steps, batch=8, rate=3e-3, warm_up=steps // 10, evaluate_every=steps // 2),
    )
    run = RunFolder(folder / "run", config, seed=0)
    if not (run.path / "model").exists():
        train(tokens, config, run=run, samples=False)
    return run.path


def write_tasks(folder: Path, count: int) -> dict[str, list[dict[str, Any]]]:
    """The tasks as the harness reads them, and their rows."""
    texts = [document.text for document in documents(CORPUS) if document.part == "test"]
    chosen = random.Random(0)
    pieces = [line.strip() for text in texts for line in text.splitlines() if len(line.split()) >= 8]
    chosen.shuffle(pieces)
    halves = [tuple(" ".join(words) for words in (line.split()[:4], line.split()[4:])) for line in pieces]
    questions = []
    for place, (beginning, end) in enumerate(halves[:count]):
        ends = [f" {other}" for _, other in halves[place + 1 : place + CHOICES]]
        answer = chosen.randrange(CHOICES)
        ends.insert(answer, f" {end}")
        questions.append({"question": beginning, "choices": ends, "answer": answer})
    rows: dict[str, list[dict[str, Any]]] = {name: questions for name in SETTINGS}
    rows["own_text"] = [{"text": text[:2000]} for text in texts[: max(2, count // 4)]]
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in SETTINGS.items():
        data = folder.resolve() / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        local = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{local}{settings}", encoding="utf-8")
    return rows


def by_harness(run: Path, tasks: Path, output: Path) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Scores, and log-likelihoods of all requests in order, by task."""
    for old in output.rglob("*.json*"):
        old.unlink()
    command = [sys.executable, "-m", "domains.language.harness", str(run), "--tasks", ",".join(SETTINGS)]
    options = ["--include_path", str(tasks), "--batch_size", "8", "--log_samples", "--output_path", str(output)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(output.resolve() / "cache")}
    subprocess.run([*command, *options], check=True, env={**os.environ, **offline})
    (results,) = output.rglob("results_*.json")
    found = json.loads(results.read_text())["results"]
    scores = {
        f"{task}, {name.partition(',')[0]}": found[task][name] for task in SETTINGS for name in _metrics(found[task])
    }
    likely = {}
    for task in SETTINGS:
        (samples,) = output.rglob(f"samples_{task}_*.jsonl")
        lines = sorted((json.loads(line) for line in samples.open(encoding="utf-8")), key=lambda line: line["doc_id"])
        # A request of a text gives a number; one of a continuation gives one and whether it is the most probable.
        answers = [answer for line in lines for answer in line["filtered_resps"]]
        likely[task] = [float(answer[0] if isinstance(answer, list) else answer) for answer in answers]
    return scores, likely


def _metrics(found: dict[str, Any]) -> list[str]:
    wanted = ("bits_per_byte,none", "acc,none", "perplexity,none")
    return [name for name in wanted if name in found]


def by_ourselves(
    model: LanguageModel, tokeniser: Tokeniser, rows: dict[str, list[dict[str, Any]]]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The same from the model's own log-probabilities in float64."""
    model = model.double().eval()

    def log_likelihood(tokens: list[int], begin: int) -> float:
        total, stop = 0.0, begin
        while stop < len(tokens):  # windows of T tokens, as full as can be, each target once
            first, stop = stop, min(stop + CONTEXT, len(tokens)) if begin == 1 else len(tokens)
            window = tokens[max(0, stop - CONTEXT - 1) : stop]
            targets = torch.tensor(window[len(window) - (stop - first) :])
            with torch.no_grad():
                hidden = model.hidden(torch.tensor([window[:-1]]))[0, -len(targets) :]
                total -= float(model.head.loss(hidden, targets).sum())
        return total

    texts = [row["text"] for row in rows["own_text"]]
    likely = {"own_text": [log_likelihood([tokeniser.end, *tokeniser.encode(text).tolist()], 1) for text in texts]}
    choices = []
    for row in rows["own_choice"]:
        before = len(tokeniser.encode(row["question"]))
        choices.append(
            [log_likelihood(tokeniser.encode(row["question"] + end).tolist(), before) for end in row["choices"]]
        )
    answers = [row["answer"] for row in rows["own_choice"]]
    likely["own_choice"] = [value for values in choices for value in values]
    likely["own_continuation"] = [values[answer] for values, answer in zip(choices, answers, strict=True)]
    read = sum(len(text.encode()) for text in texts)
    scores = {
        "own_text, bits_per_byte": -sum(likely["own_text"]) / math.log(2) / read,
        "own_choice, acc": float(np.mean([np.argmax(v) == a for v, a in zip(choices, answers, strict=True)])),
        "own_continuation, perplexity": math.exp(-float(np.mean(likely["own_continuation"]))),
    }
    return scores, likely


def main() -> None:
    """Train, score both ways, record."""
    needed = ("lm_eval", "transformers", "tokenizers")
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        print(f"not installed: {', '.join(missing)} (pip install 'lm_eval[hf]' tokenizers): nothing measured")
        return
    run = trained(FOLDER, STEPS)
    rows = write_tasks(FOLDER / "tasks", QUESTIONS)
    theirs, requests = by_harness(run, FOLDER / "tasks", FOLDER / "found")
    ours, own = by_ourselves(LanguageModel.load(run / "model"), load_tokeniser(run / "model"), rows)
    off = {task: np.abs(np.array(requests[task]) - own[task]) for task in SETTINGS}
    relative = {task: float((off[task] / np.maximum(1, np.abs(own[task]))).max()) for task in SETTINGS}
    measured = [
        {
            "task": task,
            "requests": len(own[task]),
            "score": name.partition(", ")[2],
            "lm_eval": theirs[name],
            "greatest difference of a request in nats": float(off[task].max()),
            "for each nat": relative[task],
        }
        for name, task in zip(ours, SETTINGS, strict=True)
    ]
    baselines = [
        {"task": task, "score": name.partition(", ")[2], "own probabilities": ours[name]}
        for name, task in zip(ours, SETTINGS, strict=True)
    ]
    for row in (*measured, *baselines):
        print(row)
    scores_agree = all(math.isclose(theirs[name], ours[name], rel_tol=TOLERANCE) for name in ours)
    record.write(
        "language",
        "harness",
        claim="lm-evaluation-harness scores a model of ours on tasks in local files: bits a byte of texts, multiple "
        "choice and log-likelihoods, with the numbers that the model's own probabilities give",
        measured=measured,
        target=f"log-likelihoods of all requests equal to {TOLERANCE:g} of a nat or of themselves, scores likewise",
        holds=scores_agree and max(relative.values()) <= TOLERANCE,
        baselines=baselines,
        command="python -m benchmarks.language_harness",
        seeds=[0],
        spread="the greatest of all requests; float32 in the harness, float64 beside it",
    )


if __name__ == "__main__":
    main()
