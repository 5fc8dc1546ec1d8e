"""Facts are split so that nothing leaks, survive files, and are refused where nothing could be learnt."""

import json
from collections import Counter

import pytest

from domains.language.reversal.facts import Fact, FactSet, reverse
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.natural_names import natural_names
from domains.language.reversal.reader import read_facts

MARRIED = {"wife": "husband"}


@pytest.mark.parametrize("naming", ["concept", "surface", "natural"])
def test_no_test_fact_leaks_and_only_its_reverse_is_told(naming):
    facts = reversible_facts(ReversibleFactsConfig(both_ways=60, one_way=40, pairs=3, naming=naming, multiplicity=4))
    trained, tested = set(facts.train), set(facts.test)
    assert len(trained) == len(facts.train) == 3 * (60 + 20)
    assert len(tested) == len(facts.test) == 3 * 20
    assert not trained & tested
    assert all(reverse(fact, facts.inverses) in trained for fact in tested)
    one_way = {name for fact in tested for name in (fact.head, fact.tail)}
    both_ways = {name for fact in trained - set(facts.one_way) for name in (fact.head, fact.tail)}
    assert (len(one_way), len(both_ways)) == (40, 60)
    assert not one_way & both_ways
    for relation in facts.relations:  # each entity is paired once by each pair of relations
        heads = Counter(f.head for f in (*facts.train, *facts.test) if f.relation == relation)

        assert set(heads.values()) == {1}


def test_both_directions_are_tested_alike():
    facts = reversible_facts(ReversibleFactsConfig(both_ways=2, one_way=2000, pairs=1, naming="concept"))
    told = Counter(fact.relation for fact in facts.one_way)
    assert abs(told["relation0"] - 500) < 80  # five standard deviations of a fair coin


@pytest.mark.parametrize("multiplicity", [1, 2, 5, 10])
def test_words_are_shared_by_the_stated_number_of_names(multiplicity):
    config = ReversibleFactsConfig(both_ways=200, one_way=100, multiplicity=multiplicity)
    names = [name.split() for name in reversible_facts(config).entities]
    assert len(names) == 300
    for place in (0, 1):
        counts = Counter(name[place] for name in names)
        assert set(counts.values()) == {multiplicity}


def test_unique_tails_and_seeds():
    config = ReversibleFactsConfig(both_ways=100, one_way=60, multiplicity=10, unique_tails=True)
    facts = reversible_facts(config)
    assert len({name.split()[1] for name in facts.entities}) == 160
    assert len({name.split()[0] for name in facts.entities}) == 16
    assert reversible_facts(config) == facts
    other = ReversibleFactsConfig(both_ways=100, one_way=60, multiplicity=10, unique_tails=True, seed=1)
    assert reversible_facts(other).train != facts.train


def test_names_of_people_share_words_as_real_ones_do():
    names = natural_names(5000, seed=3)
    assert len(set(names)) == 5000
    lengths = Counter(len(name.split()) for name in names)
    assert set(lengths) == {2, 3}
    assert lengths[3] / 5000 == pytest.approx(0.15, abs=0.02)
    families = Counter(name.split()[-1] for name in names)
    weights = [(k + 10) ** -1.1 for k in range(1, 2001)]
    assert families.most_common(1)[0][1] / 5000 == pytest.approx(0.95 * weights[0] / sum(weights), rel=0.3)
    with pytest.raises(ValueError):
        natural_names(51, given=10, family=10)


@pytest.mark.parametrize("name", ["facts.jsonl", "facts.h5"])
def test_files_hold_all_of_it(tmp_path, name):
    facts = reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, naming="natural"))
    assert read_facts(facts.save(tmp_path / name)) == facts
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["facts.jsonl", "facts.h5"])
def test_files_hold_relations_without_facts(tmp_path, name):
    inverses = {"wife": "husband", "boss": "clerk", "friend": "friend"}
    facts = FactSet((Fact("Ada", "wife", "Bo"), Fact("Cy", "wife", "Di")), (), inverses)
    assert read_facts(facts.save(tmp_path / name)) == facts
    assert read_facts(tmp_path / name).relations == ("boss", "clerk", "friend", "husband", "wife")


@pytest.mark.parametrize("others", [["boss"], {"boss": 3}, {"boss": ""}, {"boss": "clerk", "chief": "clerk"}])
def test_inverses_that_are_none_are_refused_with_their_line(tmp_path, others):
    path, row = tmp_path / "facts.jsonl", {"head": "Ada", "relation": "wife", "tail": "Bo"}
    path.write_text(json.dumps({**row, "other_inverses": others}))
    with pytest.raises(ValueError, match=r"facts\.jsonl:1:"):
        read_facts(path, MARRIED)


def test_csv_of_the_users_own(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text('\ufeffhead, relation,tail,part\n"Lind,  Ada",wife,Bo Ek,\nBo Ek,husband,"Lind, Ada",test\n')
    facts = read_facts(path, MARRIED)
    assert facts.train == (Fact("Lind, Ada", "wife", "Bo Ek"),)
    assert facts.test == (Fact("Bo Ek", "husband", "Lind, Ada"),)
    path.write_text("head,relation,tail,inverse\nAda,friend,Bo,friend\n")
    assert read_facts(path).inverses == {"friend": "friend"}


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["Ada,wife,Bo,", "Bo,boss,Cy,"], 3),  # no inverse
        (["Ada,wife,Bo,", "Cy,wife,Di,", "Ada,wife,Bo,"], 4),  # twice
        (["Ada,wife,Bo,", "Ada,wife,Cy,"], 3),  # contradiction
        (["Ada,wife,Bo,", "Bo,husband,Cy,"], 2),  # contradiction by the reverse
        (["Ada,wife,Bo,", "Cy,wife,Di,", "Ed,wife,Bo,"], 4),  # contradiction of the reverses
        (["Bo,husband,Ada,", "Ada,wife,Bo,", "Ada,wife,Bo,test"], 4),  # test fact that is trained
        (["Ada,wife,Bo,", "Cy,husband,Di,test"], 3),  # test fact without its reverse
        (["Ada,wife,Bo,", "Ada,wife,,"], 3),  # no tail
        (["Ada,wife,Bo,", "Cy,wife,Di,verify"], 3),  # no such part
        (["Ada,wife,Bo,", "Cy,wife,Di,train,more"], 3),  # too many values
        (["Ada,wife,Bo,", 'Cy,wife,"Di,', "Ed,wife,Flo,"], 4),  # a quote that is not closed, down to the end
        (["Ada,wife,Bo,", 'Cy,wife,"Di" Orr,'], 3),  # text after a closed one
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_its_line(tmp_path, lines, number):
    path = tmp_path / "facts.csv"
    path.write_text("\n".join(["head,relation,tail,part", *lines]) + "\n")
    with pytest.raises(ValueError) as refusal:
        read_facts(path, MARRIED)
    assert f"{path}:{number}:" in str(refusal.value)


def test_a_column_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text("head,relation,tail,tail\nAda,wife,Bo,Cy\n")
    with pytest.raises(ValueError, match="tail"):
        read_facts(path, MARRIED)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps({"head": "Ada", "relation": "wife", "tail": "Bo", "inverse": "husband"}) + "\n{oops\n")
    with pytest.raises(ValueError) as refusal:
        read_facts(path)
    assert f"{path}:2" in str(refusal.value)
    path.write_text("")
    for wrong in (path, tmp_path / "facts.txt"):
        with pytest.raises(ValueError):
            read_facts(wrong)
    with pytest.raises(FileNotFoundError):
        read_facts(tmp_path / "none.csv")
    (tmp_path / "facts.h5").write_text("no HDF5")
    with pytest.raises(ValueError):
        read_facts(tmp_path / "facts.h5")


def test_a_relation_has_one_inverse_and_sizes_are_checked():
    with pytest.raises(ValueError):
        FactSet((), (), {"wife": "husband", "partner": "husband"})
    for wrong in ({"both_ways": 3}, {"one_way": 0}, {"pairs": 0}, {"naming": "none"}):
        with pytest.raises(ValueError):
            ReversibleFactsConfig(**wrong)
    with pytest.raises(ValueError):
        reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, multiplicity=10))


def test_half_a_surrogate_pair_is_refused_with_its_line(tmp_path):
    path = tmp_path / "facts.jsonl"
    rows = [{"head": head, "relation": "wife", "tail": tail} for head, tail in (("Ada", "Bo"), ("\ud800x", "Cy"))]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"facts\.jsonl:2: .*surrogate"):
        read_facts(path, MARRIED)
