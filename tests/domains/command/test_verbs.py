"""A verb from the words of a line, and every verb that there is."""

import argparse
import contextlib
import dataclasses
import importlib
import re
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from domains.command.arguments import arguments_of, parameters_of
from domains.command.conversion import SettingsError
from domains.command.settings_file import defaults_from
from domains.command.settings_text import settings_text
from domains.command.verbs import run_verb
from domains.command_line import DOMAINS, TOP
from separable.records import Cost

# A quantity's sentence says its unit, in SI, as "length / time^2", by a comparison ("share of"), or that it has none.
UNIT = re.compile(
    r", (m|m/s|s)\b|\b(length|time)\^?\S*( |\b)(/|,|;|\.)|/ (length|time)\b|unit of (length|time)|in any one unit"
    r"|without unit|[Ss]hares? of|^share\b|seconds|in the time that|in taps|in millions"
    r"|in standard deviations|in its units"
)
NAMED = re.compile(r"minutes|seconds|rate$|weight|fraction$")  # names that say it
NUMBERS = {  # what has no unit: exponents, discounts, weights of a loss, values of an image
    *("rotary_base", "epsilon", "floor", "betas", "clip", "temperature", "decay_from", "hidden", "start", "rotations"),
    *("scale", "properties", "cycle", "noise", "gamma", "gae_lambda", "entropy", "deviation", "rewards", "vehicle"),
    *("courant", "mach", "share", "test", "top_p", "phase"),
}
seen = []


@dataclasses.dataclass(frozen=True)
class Cube:
    """A cube.

    Attributes:
        side: m.
    """

    side: float = 1.0


@dataclasses.dataclass(frozen=True)
class SmallBall:
    """A ball.

    Attributes:
        radius: m.
    """

    radius: float = 2.0


@dataclasses.dataclass(frozen=True)
class Config:
    """Of a thing.

    Attributes:
        shape: of it.
        steps: of them.
    """

    shape: Cube | SmallBall = dataclasses.field(default_factory=Cube)
    steps: int = 10


DEFAULT = Config()


def make(place: Path, /, config: Config = DEFAULT, loud: bool = False) -> None:
    """Make.

    Args:
        place: where.
        config: what.
        loud: or not.
    """
    seen.append((place, config, loud))


def gather(part: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (), most_parts: int = 9) -> None:
    """Gather.

    Args:
        part: of it.
        most_parts: of them.
    """
    seen.append((part, most_parts))


def cost(place: Path, /, config: Config = DEFAULT, loud: bool = False) -> Cost:
    return Cost(f"{config.steps} steps at {place}", seconds=config.steps)


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


def every_verb():
    found = [(module, function, f"{name}") for name, (module, function) in TOP.items()]
    for domain, verbs in DOMAINS.items():
        found += [(f"domains.{domain}.commands", verb.replace("-", "_"), f"{domain} {verb}") for verb in verbs]
    return [pytest.param(getattr(importlib.import_module(m), f), id=name) for m, f, name in found if _there(m)]


def _there(module):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("place: here\nloud: true\nconfig: {steps: 3, shape: {kind: small-ball, radius: 5}}")
    run_verb(make, ["--config", str(file)], "make")
    run_verb(make, [f"--config={file}", "--config.steps", "4", "--no-loud"], "make")
    run_verb(make, ["there", "--config", str(file), "config.shape:small-ball", "--config.shape.radius", "6"], "make")
    run_verb(make, ["there", "config.shape:cube", "--config.shape.side", "7"], "make")
    assert seen == [
        (Path("here"), Config(SmallBall(5.0), 3), True),
        (Path("here"), Config(SmallBall(5.0), 4), False),
        (Path("there"), Config(SmallBall(6.0), 3), True),
        (Path("there"), Config(Cube(7.0), 10), False),
    ]


def test_a_flag_that_is_given_several_times_goes_before_the_file(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("part: [a, b]\nmost_parts: 3")
    for words in ([], ["--most-parts", "4"], ["--part", "c", "--part=d"], ["--part=b"]):
        run_verb(gather, ["--config", str(file), *words], "gather")
    assert seen == [(("a", "b"), 3), (("a", "b"), 4), (("c", "d"), 3), (("b",), 3)]


def test_settings_are_printed_without_what_is_required_and_read_again(tmp_path, capsys):
    run_verb(make, ["--print-config", "--config.steps", "4", "config.shape:small-ball"], "make")
    (tmp_path / "a.yaml").write_text(capsys.readouterr().out)
    assert defaults_from(tmp_path / "a.yaml", make) == {"config": Config(SmallBall(), 4), "loud": False}
    run_verb(make, ["x", "--config", str(tmp_path / "a.yaml"), "--print-config"], "make")
    assert capsys.readouterr().out == settings_text(make, {"place": Path("x"), "config": Config(SmallBall(), 4)}) + "\n"
    assert seen == []


def test_a_dry_run_tells_the_cost_and_does_nothing(capsys):
    run_verb(make, ["x", "--dry-run", "--config.steps", "90"], "make", cost)
    told = capsys.readouterr().out
    assert "1.5 minutes" in told
    assert "90 steps at x" in told
    assert seen == []
    with pytest.raises(SystemExit) as refused, contextlib.redirect_stderr(None):
        run_verb(make, ["x", "--dry-run"], "make")  # one that takes no time has no such flag
    assert refused.value.code == 2


def test_words_that_do_not_fit_end_with_two_and_files_are_named():
    for words in ([], ["x", "--config.stepps", "3"], ["x", "--config.steps", "many"], ["x", "y"]):
        with pytest.raises(SystemExit) as refused:
            run_verb(make, words, "make")
        assert refused.value.code == 2
    for words in (["x", "--config", "none.yaml"], ["x", "--config"]):
        with pytest.raises(SettingsError):
            run_verb(make, words, "make")
    assert seen == []


@pytest.mark.parametrize("verb", every_verb())
def test_every_argument_has_a_sentence_and_the_flag_that_tyro_gives_it(verb):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of get_parser
        parser = tyro.extras.get_parser(verb)
    theirs = {word for action in _actions(parser) for word in action.option_strings} - {"-h", "--help"}
    ours = set()
    for argument in arguments_of(verb):
        assert argument.help, argument.path
        head, dot, tail = argument.flag.removeprefix("--").rpartition(".")
        ours |= {argument.flag, f"--{head}{dot}no-{tail}"} if argument.switch else {argument.flag} - {""}
    several = any(argument.path[-1:] == ("kind",) for argument in arguments_of(verb))
    assert theirs <= ours if several else theirs == ours  # tyro's flags of a chosen dataclass come behind its word


@pytest.mark.parametrize("verb", every_verb())
def test_help_tells_the_default_of_every_flag(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")  # wider help may stand in two columns
    with pytest.raises(SystemExit) as ended:
        run_verb(verb, ["--help"], "verb", cost=verb)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    entries = re.split(r"^\W*(?=--[a-z])", told, flags=re.MULTILINE)[1:]
    assert any(re.match(r"--config\s", entry) for entry in entries)
    silent = [entry for entry in entries if not re.search(r"\((default:|required|repeatable)", entry)]
    assert silent == []


@pytest.mark.parametrize("verb", every_verb())
def test_a_fraction_has_a_unit_or_a_name_that_needs_none(verb):
    floats = [each for each in arguments_of(verb) if re.search(r"\bfloat\b", str(each.annotation))]
    without = {each.path[-1] for each in floats if not (UNIT.search(each.help) or NAMED.search(each.path[-1]))}
    assert without <= NUMBERS, without - NUMBERS


@pytest.mark.parametrize("verb", every_verb())
def test_every_verb_has_a_settings_file_that_gives_back_its_defaults(verb, tmp_path):
    defaults = {name: each.default for name, each in parameters_of(verb).items() if each.default is not each.empty}
    (tmp_path / "settings.yaml").write_text(settings_text(verb, {}))
    assert defaults_from(tmp_path / "settings.yaml", verb) == defaults


def _actions(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action
