"""A model that answers, tuned on instructions: it learns from the answers' tokens alone and is asked in a conversation.

Usage: python 62_instructions.py [steps]

Instructions are drawn with their answers; a tenth, by a hash of the question, is held out. One task of eleven is taken
here, how many things a list names, which a small model that has read nothing learns in seconds. All of them need one
that has read text, and minutes: `separable language instruct` tunes it, `separable language chat` asks it.
"""

import sys

import torch

from domains.language.instruction.chat import Message
from domains.language.instruction.tasks import instructions
from domains.language.instruction.train import InstructionConfig, accuracy, reply, tune
from domains.language.tokenisers import ByteTokeniser
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import TrainingConfig


def main(steps: str = "150") -> None:
    """Draw instructions, tune, ask."""
    torch.manual_seed(0)
    drawn = [each for each in instructions(6000) if each.task == "count"]
    learnt = [each.conversation for each in drawn if not each.held_out]
    asked = [each for each in drawn if each.held_out]
    print(f"{len(learnt)} instructions, such as {drawn[0].question!r}, to be answered {drawn[0].answer!r}")

    model = LanguageModel(LanguageModelConfig(257, TransformerConfig(width=64, layers=2, heads=4)))
    training = TrainingConfig(steps=int(steps), batch=16, rate=5e-3, warm_up=20, evaluate_every=int(steps))
    measured = [each.conversation for each in asked]
    config = InstructionConfig(training=training)
    tune(model, ByteTokeniser(), learnt, measured, config, progress=False)

    right = accuracy(model, ByteTokeniser(), asked)["all"]
    print(f"{right:.0%} of {len(asked)} held-out instructions answered word for word after {steps} steps")
    for question in (asked[0].question, "How many things are these: cup, kite, book?"):
        said = reply(model, ByteTokeniser(), [Message("user", question)])
        print(f"  {question} {said}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
