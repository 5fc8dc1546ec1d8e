"""lm-evaluation-harness and our own probabilities: the same scores of the same model, on tasks from local files.

It runs where lm_eval is installed, beside a torch that fits: pip install -c constraints.txt 'lm_eval[hf]' tokenizers.
"""

import copy
import json
import math

import numpy as np
import pytest
import torch

pytest.importorskip("lm_eval", reason="needs lm_eval[hf], which brings packages that no other test needs")
pytest.importorskip("tokenizers", reason="the extra language")

import lm_eval

from domains.language.harness import arguments
from domains.language.tokenisers import BytePairTokeniser, ByteTokeniser
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

pytestmark = [pytest.mark.validation, pytest.mark.filterwarnings("default")]  # of the packages that are brought

TEXTS = ["A spline is a sum of kernels.\n\n  Né 😀?", "def f(x):\n    return x  # the same"]
QUESTIONS = [
    {"question": "The order of a cubic spline is", "choices": [" four", " one hundred", " né"], "answer": 0},
    {"question": "Its knots lie\tin", "choices": [" order", " disorder"], "answer": 1},
]
LOCAL = "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {file}}}}}\ntest_split: test\n"
TASKS = {
    "own_text": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
    "metric_list: [{metric: bits_per_byte}, {metric: byte_perplexity}]\n",
    "own_choice": "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
    "doc_to_target: '{{answer}}'\ntarget_delimiter: ''\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "own_continuation": "output_type: loglikelihood\ndoc_to_text: '{{question}}'\n"
    "doc_to_target: '{{choices[answer]}}'\ntarget_delimiter: ''\nmetric_list: [{metric: perplexity}, {metric: acc}]\n",
}
KINDS = {
    "bytes": (("table", {"deviation": 0.5}), ("table", {"tied": True})),
    "byte pairs": (
        ("generated", {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4, "frequent": 9}),
        ("hierarchical", {"rank": 8}),
    ),
}
CONTEXT = 16  # tokens, fewer than the texts have


@pytest.fixture(params=KINDS)
def trained(request, tmp_path):
    """The folder that a training leaves, its model and its tokeniser."""
    tokeniser = ByteTokeniser() if request.param == "bytes" else BytePairTokeniser.trained(TEXTS * 3, 270)
    (embedding, sizes), (head, settings) = KINDS[request.param]
    config = LanguageModelConfig(
        tokeniser.vocabulary,
        TransformerConfig(width=16, layers=2, heads=2),
        embedding_config(embedding, **sizes),
        head_config(head, **settings),
    )
    generator = torch.Generator().manual_seed(1)
    model = LanguageModel(config, generator).eval()
    model.assign(torch.randint(9, (tokeniser.vocabulary,), generator=generator))
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.mul_(4.0)  # away from equal probabilities
    run = tmp_path / "run"
    model.save(run / "model")
    tokeniser.save(run / "model")
    (run / "config.json").write_text(json.dumps({"context": CONTEXT}))
    return run, model.double(), tokeniser


@pytest.fixture
def scored(trained, tmp_path, monkeypatch):
    """What the harness finds, by task: scores, and log-likelihoods of each request."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name, settings in TASKS.items():
        rows = [{"text": text} for text in TEXTS] if name == "own_text" else QUESTIONS
        (tasks / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tasks / f"{name}.yaml").write_text(f"task: {name}\n" + LOCAL.format(file=tasks / f"{name}.jsonl") + settings)
    command = arguments(trained[0])
    model, device = (command[command.index(name) + 1] for name in ("--model_args", "--device"))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args=model,
        device=device,
        tasks=list(TASKS),
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False),
        batch_size=2,
        bootstrap_iters=0,
    )
    return found["results"], found["samples"]


def nats(model, tokens, begin):
    """Minus the log-probabilities of all tokens from a place on, one after another, in float64."""
    with torch.no_grad():
        hidden = model.hidden(torch.tensor([tokens[:-1]]))[0]
        table = model.head.log_probabilities(hidden)
    assert torch.allclose(table.exp().sum(1), torch.ones(len(table), dtype=torch.float64), rtol=0, atol=1e-9)
    return -sum(float(table[place - 1, tokens[place]]) for place in range(begin, len(tokens)))


def test_bits_of_a_text(trained, scored):
    _, model, tokeniser = trained
    results, samples = scored
    expected = []
    for text in TEXTS:
        ids = [tokeniser.end, *tokeniser.encode(text).tolist()]
        assert len(ids) > CONTEXT + 1
        total, stop = 0.0, 1
        while stop < len(ids):  # windows of T tokens, as full as can be, each target once
            begin, stop = stop, min(stop + CONTEXT, len(ids))
            start = max(0, stop - CONTEXT - 1)
            total += nats(model, ids[start:stop], begin - start)
        expected.append(total)
    found = [-float(sample["filtered_resps"][0]) for sample in samples["own_text"]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    bits = sum(expected) / math.log(2) / sum(len(text.encode()) for text in TEXTS)
    assert results["own_text"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    assert results["own_text"]["byte_perplexity,none"] == pytest.approx(2**bits, rel=1e-4)


def continuation(model, tokeniser, question, choice):
    """Log-likelihood of a choice after a question, and whether each of its tokens is the most probable one."""
    before, ids = len(tokeniser.encode(question)), tokeniser.encode(question + choice).tolist()
    left = max(0, len(ids) - CONTEXT - 1)  # of the question, to have a window and the target after it
    before, ids = before - left, ids[left:]
    with torch.no_grad():
        best = model(torch.tensor([ids[:-1]]))[0].argmax(-1).tolist()
    return -nats(model, ids, before), best[before - 1 :] == ids[before:]


def test_choices_and_continuations(trained, scored):
    _, model, tokeniser = trained
    results, samples = scored
    best, normed, right, found, own = [], [], [], [], []
    for row, sample, alone in zip(QUESTIONS, samples["own_choice"], samples["own_continuation"], strict=True):
        likely = [continuation(model, tokeniser, row["question"], choice) for choice in row["choices"]]
        values = np.array([value for value, _ in likely])
        np.testing.assert_allclose([float(r[0]) for r in sample["filtered_resps"]], values, rtol=1e-5, atol=1e-4)
        own.append(values[row["answer"]])
        found.append(float(alone["filtered_resps"][0][0]))
        right.append(likely[row["answer"]][1])
        best.append(values.argmax() == row["answer"])
        normed.append((values / [len(choice) for choice in row["choices"]]).argmax() == row["answer"])
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-4)
    assert results["own_choice"]["acc,none"] == np.mean(best)
    assert results["own_choice"]["acc_norm,none"] == np.mean(normed)
    assert results["own_continuation"]["acc,none"] == np.mean(right)
    assert math.log(results["own_continuation"]["perplexity,none"]) == pytest.approx(-np.mean(own), rel=1e-5)


def test_tokenisers_agree(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, model, tokeniser = trained
    folder = arguments(run)[4].removeprefix("pretrained=")
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS, "", " ", "\x00\r\n\t", "naïve   ½ \N{ZERO WIDTH JOINER}x"):
        assert theirs(text)["input_ids"] == tokeniser.encode(text).tolist()
        assert theirs.decode(theirs(text)["input_ids"]) == text
    assert {theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id} == {tokeniser.end}
    assert theirs.model_max_length == CONTEXT
    opened = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.tensor([tokeniser.encode("knots").tolist()])
    with torch.no_grad():
        torch.testing.assert_close(opened(tokens).logits, copy.deepcopy(model).float()(tokens))
