"""A language model of bytes, trained on the sources of Python's standard library; its token vectors are computed.

Usage: python 60_language_model.py [steps]

The vector of a token comes from the digits of its place in an order in which neighbours are alike, by products of
splines: nothing in the embedding grows with the vocabulary. 120 steps are too few for good Python; 3000 begin to be.
"""

import math
import sys

from domains.language.corpus import CorpusConfig
from domains.language.evaluate import evaluate
from domains.language.generate import continued
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import TransformerConfig
from separable.training import RunFolder, TrainingConfig


def main(steps: str = "120") -> None:
    """Make tokens, train, measure, write on from a beginning."""
    # Files go to training, validation or test by a hash of their text. A second run finds the tokens made.
    corpus = CorpusConfig("standard_library", validation=0.05, test=0.05)
    tokens = Tokens(write_tokens("runs/example_tokens", TokenizeConfig(corpus, vocabulary=257), progress=False))
    part = tokens.part("train")
    print(f"{part.bytes:,} bytes of {part.documents} files to train on")

    config = LanguageConfig(
        TransformerConfig(width=64, layers=2, heads=2),
        embedding="generated:seed_dim=16,heads=2,knots=6,rank=16",
        context=64,
        validation_windows=32,
        training=TrainingConfig(steps=int(steps), batch=8, rate=5e-3, warm_up=20, evaluate_every=60),
    )
    # The run folder gets checkpoints: stopped anywhere and started again, it ends with the same bits.
    run = RunFolder(f"runs/example_language_{steps}", config, seed=0)
    model, result = train(tokens, config, run=run)
    print(f"{model.n_parameters:,} parameters, {result.speed:,.0f} tokens/s, report in {run.path / 'report.html'}")

    scores = evaluate(model, tokens, "test", context=64, windows=evenly(len(tokens.part("test")), 64, 200))
    print(f"{scores.bits_per_byte:.2f} bits a byte in files never seen ({math.log2(256):.0f} without a model)")
    for band in scores.bands:
        print(f"  bytes of frequency rank {band['ranks']:>7}: {band['nats']:.2f} nats")

    print("def ", end="")
    for piece in continued(model, tokens.tokeniser, "def ", steps=120):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:2])
