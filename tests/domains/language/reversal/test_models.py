"""Every model is what its mathematics says: recognisers, objective, scores, ranks; and facts can be written into it."""

import itertools
import math

import pytest
import torch

from domains.language.reversal.additions import AdditionConfig, add_facts
from domains.language.reversal.answers import answer, area_under_curve, confidence, parse_question, strangers
from domains.language.reversal.evaluate import entanglement, pairs_only, pairs_only_of, ranking
from domains.language.reversal.facts import Fact
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import FactModel, JointModelConfig
from domains.language.reversal.recognisers import FixedKeyMemory, HashedMemory, RecogniserConfig, hashed_digits
from domains.language.reversal.train import load, save, train
from domains.language.reversal.transformer import TransformerModelConfig
from separable.training import TrainingConfig

NAMES = [f"first{i} last{j}" for i, j in itertools.product(range(6), range(6))]
MEMORIES = ["none", "fixed keys", "product keys", "digits", "hashed"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small(memory="hashed", **changes):
    return JointModelConfig(recogniser=RecogniserConfig(memory, rows=64, heads=2), width=16, **changes)


def test_a_hashed_memory_is_the_sum_of_one_row_of_each_table():
    memory = HashedMemory(8, RecogniserConfig(heads=3, rows=32), seeded()).double()
    found = memory(memory.addresses(NAMES))
    for name, concept in zip(NAMES, found, strict=True):
        digits = hashed_digits([name], 3, 32)[0]
        expected = sum(memory.values[h, digit] for h, digit in enumerate(digits)) / math.sqrt(3)
        assert torch.allclose(concept, expected)


def test_digits_of_a_hash_are_uniform_and_independent():
    digits = hashed_digits([f"name {i}" for i in range(20_000)], 2, 10)
    counts = torch.bincount(10 * digits[:, 0] + digits[:, 1], minlength=100).double()
    assert float(((counts - 200) ** 2 / 200).sum()) < 99 + 5 * math.sqrt(2 * 99)  # chi square, five deviations
    with_common_word = hashed_digits(["Ada Lind", "Ada Ek", "Bo Lind"], 4, 2**20)
    assert len(with_common_word.flatten().unique()) == 12


@pytest.mark.parametrize("memory", ["product keys", "digits", "hashed"])
def test_parameters_do_not_grow_with_the_names(memory):
    few, many = (small(memory).build(NAMES[:n], ["r", "s"], seeded()) for n in (4, 36))
    assert few.n_parameters == many.n_parameters
    wide = few.extended(NAMES)
    assert wide.entities == tuple(NAMES)
    rows = wide.rows([Fact(NAMES[0], "r", NAMES[-1])])
    assert torch.equal(wide.scores(rows), many.scores(rows))  # the same seed gives the same parameters


def test_fixed_keys_find_their_names_and_take_no_others():
    memory = FixedKeyMemory(NAMES, 16, RecogniserConfig("fixed keys"), seeded())
    assert memory.addresses(NAMES).tolist() == list(range(36))
    with pytest.raises(ValueError):
        small("fixed keys").build(NAMES, ["r"]).extended(["Ada"])


@pytest.mark.parametrize("memory", MEMORIES)
def test_loss_is_the_cross_entropy_among_all_concepts_of_the_batch(memory):
    model = small(memory, scale=7.0, rotations=0.0).build(NAMES, ["r", "s"], seeded()).double()
    facts = [Fact(NAMES[0], "r", NAMES[7]), Fact(NAMES[7], "s", NAMES[0]), Fact(NAMES[5], "r", NAMES[20])]
    names = [NAMES[0], NAMES[5], NAMES[7], NAMES[20], "r", "s"]

    def concept(name):
        vector = model.recogniser(model.recogniser.addresses([*names, name]))[-1]
        return vector / vector.norm()

    total = 0.0
    predictor = model.joint.predictor
    for fact in facts:
        h, r = concept(fact.head), concept(fact.relation)
        q = predictor.readout.weight @ (
            (predictor.head.weight @ h) * (predictor.relation.weight @ r + predictor.relation.bias)
        )
        scores = torch.stack([7.0 * (q / q.norm()) @ concept(name) for name in names])
        total = total + scores.logsumexp(0) - scores[names.index(fact.tail)]
    assert model.loss(model.rows(facts)).item() == pytest.approx(total.item() / 3, rel=1e-5)


def test_the_loss_counts_how_far_the_maps_of_relations_are_from_rotations():
    facts = [Fact(NAMES[0], "r", NAMES[7]), Fact(NAMES[7], "s", NAMES[0])]
    free, held = (small(rotations=w).build(NAMES, ["r", "s"], seeded()).double() for w in (0.0, 0.5))
    predictor = held.joint.predictor
    far = []
    for relation in held.joint.concepts(held.recogniser.addresses(["r", "s"])):
        scales = predictor.relation(relation)
        singular = torch.linalg.svdvals(predictor.readout.weight @ torch.diag(scales) @ predictor.head.weight)
        squares = singular**2 / (singular**2).mean()
        far.append(((squares - 1) ** 2).mean().item())
    expected = free.loss(free.rows(facts)).item() + 0.5 * sum(far) / 2
    assert held.loss(held.rows(facts)).item() == pytest.approx(expected, rel=1e-9)


def test_among_many_relations_none_is_left_free():
    relations = [f"r{i}" for i in range(70)]  # more than are looked at in a step
    model = JointModelConfig(width=16).build(NAMES, relations, seeded())  # tables in which no two names are the same
    rows = model.rows([Fact(NAMES[0], relation, NAMES[7]) for relation in relations])
    looked_at = set()
    plain = model.joint.predictor.far_from_rotations

    def watched(concepts):
        found = model.joint.concepts(model.addresses[len(NAMES) :])
        looked_at.update((concepts[:, None] - found).abs().sum(2).argmin(1).tolist())
        return plain(concepts)

    model.joint.predictor.far_from_rotations = watched
    for _ in range(8):
        model.loss(rows)
    assert looked_at == set(range(70))


def test_rotations_keep_the_reverse_where_a_long_training_would_forget_it():
    facts = reversible_facts(ReversibleFactsConfig(both_ways=200, one_way=80, pairs=1, multiplicity=5))
    training = TrainingConfig(
        steps=800, batch=128, rate=3e-3, warm_up=50, weight_decay=1.0, decay_from=0.5, betas=(0.9, 0.99)
    )
    found = []
    for weight in (0.0, 0.3):
        config = JointModelConfig(recogniser=RecogniserConfig(rows=128), width=16, rotations=weight)
        model, _ = train(facts, config, training, progress=False)
        found.append(ranking(model, facts.test).accuracy)
    assert found[0] < 0.4
    assert found[1] > 0.5


def test_negatives_can_be_the_tails_and_recognisers_two():
    facts = [Fact(NAMES[0], "r", NAMES[7]), Fact(NAMES[5], "r", NAMES[7])]
    tails = small(negatives="tails", rotations=0.0).build(NAMES, ["r"], seeded())
    assert tails.loss(tails.rows(facts)).item() == pytest.approx(0.0, abs=1e-6)  # one tail, nothing to tell it from
    apart = small(shared=False).build(NAMES, ["r"], seeded())
    apart.loss(apart.rows(facts)).backward()
    assert all(p.grad is not None for p in apart.parameters())
    assert apart.n_parameters == tails.n_parameters + 2 * 64 * 16


def test_the_transformers_scores_are_log_probabilities_of_whole_names():
    model = TransformerModelConfig(width=16, layers=1, heads=2).build([*NAMES, "solo"], ["r", "s"], seeded())
    rows = model.rows([Fact(NAMES[3], "r", NAMES[10]), Fact("solo", "s", NAMES[0])])
    scores = model.scores(rows)
    words = model.words
    for row, line in zip(rows, scores, strict=True):
        for entity in (0, 10, 36):
            fact = torch.tensor([[row[0], row[1], entity]])
            assert -words.shape[1] * model.loss(fact).item() == pytest.approx(line[entity].item(), rel=1e-4)
    assert bool((scores.exp().sum(1) <= 1 + 1e-5).all())
    with pytest.raises(ValueError):
        TransformerModelConfig(width=16).build(NAMES, ["two words"])


class Told(FactModel):
    """Scores that are given."""

    def __init__(self, scores):
        super().__init__(NAMES[: scores.shape[1]], ["r"])
        self.given = scores

    def loss(self, rows):
        raise NotImplementedError  # its answers are given, it is never trained

    def scores(self, rows):
        return self.given[rows[:, 0]]


def test_ranks_are_counted_among_all_entities_and_ties_count_against():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [5.0, 0.0, 1.0]])
    asked = torch.tensor([[0, 3, 0], [1, 3, 0], [2, 3, 1]])  # ranks 1, 2 (a tie), 3
    found = ranking(Told(scores), asked)
    assert found.mrr == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert found.accuracy == pytest.approx(1 / 3)
    assert pairs_only(6).mrr == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 6)
    with pytest.raises(ValueError):
        ranking(Told(scores), [])
    with pytest.raises(ValueError):
        Told(scores).rows([Fact("nobody", "r", NAMES[0])])
    with pytest.raises(ValueError):
        Told(scores).rows([Fact(NAMES[0], "t", NAMES[0])])


def test_entanglement_is_that_of_shared_rows_and_shared_words():
    apart = entanglement(small("fixed keys").build(NAMES, ["r"], seeded()), names=6)
    assert (apart.sharing, apart.others) == (0.0, 0.0)
    tokens = JointModelConfig(recogniser=RecogniserConfig("none", layers=0), width=16).build(NAMES, ["r"], seeded())
    summed = entanglement(tokens, names=6)
    assert summed.others == 0.0
    assert 0.2 < summed.sharing < 1.0  # half of a name's words move with it


def test_entanglement_is_the_mean_of_the_names_that_have_others_to_compare():
    config = JointModelConfig(recogniser=RecogniserConfig("none", layers=0), width=16)
    model = config.build(["Ada Lind", "Bo Ek", "Ada Ek"], ["r"], seeded())  # the last shares a word with all
    found = entanglement(model)
    assert found.others == 0.0
    assert found.sharing > 0.0
    alone = entanglement(config.build(["Ada Lind", "Ada Ek"], ["r"], seeded()))
    assert math.isnan(alone.others)
    assert not math.isnan(alone.sharing)


@pytest.fixture(scope="module")
def facts():
    return reversible_facts(ReversibleFactsConfig(both_ways=200, one_way=80, naming="surface", multiplicity=7))


@pytest.fixture(scope="module")
def learnt(facts):
    config = JointModelConfig(recogniser=RecogniserConfig(rows=128), width=32, scale=10.0)
    training = TrainingConfig(
        steps=300, batch=256, rate=5e-3, warm_up=20, weight_decay=1.0, decay_from=0.5, betas=(0.9, 0.99)
    )
    return train(facts, config, training, progress=False)


def test_our_memory_learns_to_reverse_names_that_share_words(facts, learnt):
    model, result = learnt
    found = ranking(model, facts.test)
    assert found.accuracy >= 0.9 > pairs_only(2).accuracy
    assert result.scores["test_error"] == pytest.approx(1 - found.accuracy)


def test_a_saved_model_is_the_same(facts, learnt, tmp_path):
    model, _ = learnt
    again, inverses = load(save(model, tmp_path, dict(facts.inverses)))
    rows = model.rows(facts.test)
    with torch.no_grad():
        assert torch.equal(again.scores(rows), model.scores(rows))
    assert inverses == facts.inverses
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


@pytest.mark.parametrize("memory", ["none", "product keys", "digits", "hashed"])
def test_a_model_that_was_told_new_names_is_saved_and_told_more(memory, tmp_path):
    old = [Fact("Ada Lind", "wife", "Bo Ek"), Fact("Bo Ek", "husband", "Ada Lind")]
    model = small(memory).build(["Ada Lind", "Bo Ek"], ["wife", "husband"], seeded())
    for i in range(2):
        new = Fact(f"Cy{i} Ny", "wife", f"Di{i} Ny")
        model = add_facts(model, old, [new], AdditionConfig(steps=2, batch=8))
        model, _ = load(save(wanted := model, tmp_path, {"wife": "husband", "husband": "wife"}))
        assert (model.entities, model.relations) == (wanted.entities, wanted.relations)
        assert torch.equal(model.addresses, wanted.addresses)
        assert torch.equal(model.scores(model.rows([new])), wanted.scores(wanted.rows([new])))
        old.append(new)


def test_strangers_are_told_from_who_is_known(facts, learnt):
    model, _ = learnt
    known = confidence(model, [(fact.head, fact.relation) for fact in facts.test], facts.inverses)
    made_up = strangers(facts.entities, len(facts.test), seed=5)
    assert not set(made_up) & set(facts.entities)
    unknown = confidence(model, [(name, facts.relations[0]) for name in made_up], facts.inverses)
    assert area_under_curve(known, unknown) >= 0.95
    found = answer(model, (facts.test[0].head, facts.test[0].relation), facts.inverses)
    assert found.confidence == pytest.approx(known[0], rel=1e-4)


def test_a_fact_is_added_in_one_direction_and_asked_in_the_other(facts, learnt, tmp_path):
    model, _ = learnt
    model, _ = load(save(model, tmp_path, dict(facts.inverses)))  # a copy: writing is in place
    predictor = [p.clone() for p in model.joint.predictor.parameters()]
    before = ranking(model, facts.test).accuracy
    new = [Fact("Ada Lind", "relation0", "Bo Ek"), Fact("Cy Ek", "inverse1", "Di Lind")]
    wide = add_facts(model, facts.train, new, AdditionConfig(steps=60, batch=128))
    assert ranking(wide, [facts.reverse(fact) for fact in new]).accuracy == 1.0
    assert ranking(wide, facts.test).accuracy >= before - 0.05
    assert all(torch.equal(a, b) for a, b in zip(predictor, wide.joint.predictor.parameters(), strict=True))
    with pytest.raises(ValueError):
        add_facts(model, facts.train, [])


def test_facts_are_added_by_the_seed_alone():
    relations = [f"r{i}" for i in range(70)]  # more than are looked at in a step
    old = [Fact(NAMES[0], relation, NAMES[7]) for relation in relations]
    found = []
    for seed in (1, 2):
        model = JointModelConfig(width=16).build(NAMES, relations, seeded())
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        add_facts(model, old, [Fact(NAMES[1], "r1", NAMES[2])], AdditionConfig(steps=3))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*found)


def test_questions():
    relations = ["wife", "father", "father in law"]
    for text, expected in (
        ("Who is Ada Lind's father in law?", ("Ada Lind", "father in law")),
        ("who was the father of  Bo Ek", ("Bo Ek", "father")),
        ("O'Hara Cy, wife", ("O'Hara Cy", "wife")),
        ("who is Jon Ek\u2019s wife?", ("Jon Ek", "wife")),
    ):
        assert parse_question(text, relations) == expected
    with pytest.raises(ValueError):
        parse_question("who is Ada's boss?", relations)


def test_questions_are_understood_so_that_the_head_is_known():
    relations, entities = ["Capital", "capital", "wife"], ["X", "Wife of Bath", "Ada Lind"]
    for text, expected in (
        ("X, capital", ("X", "capital")),
        ("X, Capital", ("X", "Capital")),
        ("X, CAPITAL", ("X", "Capital")),
        ("Who's Ada Lind's wife?", ("Ada Lind", "wife")),
        ("who\u2019s the wife of the Wife of Bath?", ("Wife of Bath", "wife")),
        ("who is the Wife of Bath's wife?", ("Wife of Bath", "wife")),
    ):
        assert parse_question(text, relations, entities) == expected


def test_pairs_without_relations_are_guessed_among_what_is_told_with_a_head():
    told = [Fact("Ada", "wife", "Bo"), Fact("Cy", "teacher", "Di"), Fact("Ada", "boss", "Di")]
    asked = [Fact("Bo", "husband", "Ada"), Fact("Ada", "wife", "Bo"), Fact("Di", "pupil", "Cy")]
    found = pairs_only_of(asked, told)  # of 1, 2 and 2 candidates
    assert found.accuracy == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert found.mrr == pytest.approx((1 + 0.75 + 0.75) / 3)


def test_scores_that_are_no_numbers_count_against_a_model():
    model = JointModelConfig(width=16).build(["Ada", "Bo", "Cy"], ["wife", "husband"])
    with torch.no_grad():
        for parameter in model.recogniser.parameters():
            parameter.fill_(torch.nan)
    found = ranking(model, [Fact("Ada", "wife", "Bo")])
    assert (found.accuracy, found.mrr) == (0.0, pytest.approx(1 / 3))


def test_questions_about_names_with_marks_of_their_own():
    entities = ["Sin O\u2019Hara", "Ann O'Brien", "Sam Davis Jr.", "Ada Lind"]
    for text, head in (
        ("who is Sin O\u2019Hara's wife?", "Sin O\u2019Hara"),
        ("Sin O'Hara, wife", "Sin O\u2019Hara"),
        ("who is the wife of Ann O\u2019Brien?", "Ann O'Brien"),
        ("who is the wife of Sam Davis Jr.?", "Sam Davis Jr."),
        ("Sam Davis Jr., wife.", "Sam Davis Jr."),
        ("tell me the wife of Ada Lind.".removeprefix("tell me "), "Ada Lind"),
        ("who is Bo Ek's wife.", "Bo Ek"),
    ):
        assert parse_question(text, ["wife"], entities) == (head, "wife")


def test_wrong_settings_are_refused():
    for make in (
        lambda: RecogniserConfig("paper"),
        lambda: RecogniserConfig(rows=0),
        lambda: JointModelConfig(predictor="none"),
        lambda: JointModelConfig(negatives="none"),
        lambda: JointModelConfig(width=0),
        lambda: AdditionConfig(steps=0),
    ):
        with pytest.raises(ValueError):
            make()


@pytest.mark.parametrize(
    "config",
    [
        small(rotations=0.1),
        small(negatives="tails"),
        TransformerModelConfig(width=16, layers=1, heads=2),
    ],
    ids=["batch", "tails", "transformer"],
)
def test_parts_of_a_step_have_the_loss_of_the_whole(config):
    facts = reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, multiplicity=3))
    found = []
    for accumulation in (1, 4):
        training = TrainingConfig(steps=5, batch=16, accumulation=accumulation, warm_up=0)
        model, result = train(facts, config, training, progress=False)
        found.append((result.loss, torch.cat([p.detach().flatten() for p in model.parameters()])))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-4)
