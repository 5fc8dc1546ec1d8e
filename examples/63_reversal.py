"""Facts told in one direction and asked in the other, a stranger recognised, and a fact added to a trained model.

Usage: python 63_reversal.py [steps]
"""

import sys

from domains.language.reversal.additions import AdditionConfig, add_facts
from domains.language.reversal.answers import answer, familiarity_threshold, parse_question
from domains.language.reversal.evaluate import pairs_only, ranking
from domains.language.reversal.facts import Fact
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.train import train
from separable.training import TrainingConfig


def main(steps: str = "300") -> None:
    """Train on people's names, ask, add, and ask again."""
    # 400 people whose facts are told from both sides, 200 others of whom one side is told and the other is asked.
    facts = reversible_facts(ReversibleFactsConfig(both_ways=400, one_way=200, naming="natural"))
    training = TrainingConfig(
        steps=int(steps), batch=256, rate=3e-3, warm_up=30, weight_decay=1.0, decay_from=0.5, betas=(0.9, 0.99)
    )
    model, _ = train(facts, JointModelConfig(), training, progress=False)
    found, pairs = ranking(model, facts.test), pairs_only(2)
    print(f"{len(facts.train)} facts, {len(facts.entities)} names, {model.n_parameters} parameters whatever the names")
    print(f"reversed questions: accuracy {found.accuracy:.3f}; knowing pairs without relations {pairs.accuracy:.3f}")

    threshold = familiarity_threshold(model, facts.train, facts.inverses)
    asked = facts.test[0]
    for head in (asked.head, "Nobody Inparticular"):
        question = parse_question(f"who is {head}'s {asked.relation}?", model.relations, model.entities)
        print(f"{head}, {asked.relation}: {answer(model, question, facts.inverses, threshold=threshold)}")

    new = Fact("Ada Lindman", "relation0", "Bo Ekdale")  # names that were in no list
    model = add_facts(model, facts.train, [new], AdditionConfig(steps=100, batch=256))
    print(f"told {new}: {new.tail}, inverse0: {answer(model, (new.tail, 'inverse0'), facts.inverses)}")
    print(f"reversed questions afterwards: accuracy {ranking(model, facts.test).accuracy:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
