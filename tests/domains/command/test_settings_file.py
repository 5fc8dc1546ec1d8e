"""Settings files: what they set, and what is refused with its name."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from domains.command.conversion import SettingsError
from domains.command.settings_file import defaults_from
from domains.command.settings_text import scalar, settings_text
from domains.command.yaml_reader import read_yaml


@dataclasses.dataclass(frozen=True)
class Round:
    """A round one.

    Attributes:
        radius: m.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"radius: expected above 0, got {self.radius}")


@dataclasses.dataclass(frozen=True)
class FlatPlate:
    """A flat one.

    Attributes:
        sides: m.
    """

    sides: tuple[float, float] = (1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Config:
    """All kinds of values.

    Attributes:
        shape: of it.
        steps: of them.
        rate: 1/s.
        decay: how.
        sizes: of layers.
        box: corners.
        limit: or none.
        weights: by name.
        course: of points.
        on: or off.
    """

    shape: Round | FlatPlate = dataclasses.field(default_factory=Round)
    steps: int = 10
    rate: float = 1e-3
    decay: Literal["cosine", "linear"] = "cosine"
    sizes: tuple[int, ...] = (64, 64)
    box: tuple[tuple[float, float], ...] | None = None
    limit: float | None = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    course: Sequence[Sequence[float]] | None = None
    on: bool = True


DEFAULT = Config()


@dataclasses.dataclass(frozen=True)
class Log:
    """A log.

    Attributes:
        bark_rings: of it.
    """

    bark_rings: int = 1


LOG = Log()


def burn(dry_wood: int = 1, config: Log = LOG) -> Any:
    """Burn."""


def saw(config: tyro.conf.OmitArgPrefixes[Log] = LOG) -> Any:
    """Saw."""


def nested(data: Path, /, run: Path = Path("runs/x"), config: Config = DEFAULT, name: str = "a") -> Any:
    """Nested.

    Args:
        data: in.
        run: out.
        config: of it.
        name: of it.
    """


def flat(a: str, b: int, /, config: tyro.conf.OmitArgPrefixes[Config] = DEFAULT, seed: int = 0) -> Any:
    """Flat.

    Args:
        a: first.
        b: second.
        config: of it.
        seed: of it.
    """


def written(folder, text, name="settings.yaml"):
    file = folder / name
    file.write_text(text)
    return file


def test_values_take_the_types_of_the_arguments(tmp_path):
    text = """
    data: cells.h5
    config:
      shape: {kind: flat-plate, sides: [3, 4.5]}
      rate: 1e-4
      decay: linear
      sizes: [8]
      box: [[0, 1], [2, 3]]
      limit: 7
      weights: {wind: 2}
      course: [[1, 2], [3, 4]]
      on: false
    """
    found = defaults_from(written(tmp_path, text), nested)
    assert found["data"] == Path("cells.h5")
    assert set(found) == {"data", "config"}
    config = found["config"]
    assert config == Config(
        FlatPlate((3.0, 4.5)),
        10,
        1e-4,
        "linear",
        (8,),
        ((0.0, 1.0), (2.0, 3.0)),
        7.0,
        {"wind": 2.0},
        ((1.0, 2.0), (3.0, 4.0)),
        False,
    )
    assert isinstance(config.limit, float)
    assert isinstance(config.weights["wind"], float)


def test_fields_without_prefix_stand_at_the_top_and_json_says_the_same(tmp_path):
    settings = {"steps": 3, "shape": {"radius": 2}, "seed": 5, "a": "x", "b": 1}
    found = defaults_from(written(tmp_path, json.dumps(settings), "s.json"), flat)
    assert found == {"a": "x", "b": 1, "seed": 5, "config": Config(Round(2.0), steps=3)}
    assert defaults_from(written(tmp_path, json.dumps(settings), "s.yaml"), flat) == found


def test_names_may_be_joined_as_on_the_command_line_and_an_empty_file_changes_nothing(tmp_path):
    assert defaults_from(written(tmp_path, ""), nested) == {}

    def verb(dry_wood: int = 1) -> None:
        """Burn.

        Args:
            dry_wood: kg.
        """

    assert defaults_from(written(tmp_path, "dry-wood: 3"), verb) == {"dry_wood": 3}


@pytest.mark.parametrize(
    ("text", "offender"),
    [
        ("config: {stepps: 3}", "config.steps"),
        ("steps: 3", "config.steps"),
        ("nmae: b", "name"),
        ("config: {steps: 3.5}", "config.steps"),
        ("config: {steps: true}", "config.steps"),
        ("config: {steps: many}", "config.steps"),
        ("config: {rate: fast}", "config.rate"),
        ("config: {rate: [1]}", "config.rate"),
        ("config: {rate: false}", "config.rate"),
        ("config: {decay: sudden}", "config.decay"),
        ("config: {sizes: 64}", "config.sizes"),
        ("config: {sizes: [1, x]}", "config.sizes.2"),
        ("config: {box: [[1]]}", "config.box"),
        ("config: {limit: soon}", "config.limit"),
        ("config: {weights: [1]}", "config.weights"),
        ("config: {weights: {wind: strong}}", "config.weights.wind"),
        ("config: {on: 1}", "config.on"),
        ("config: {shape: {kind: cube}}", "config.shape.kind"),
        ("config: {shape: {sides: [1, 2]}}", "config.shape.sides"),
        ("config: {shape: {radius: -1}}", "config.shape"),
        ("config: 3", "config"),
        ("name: 3", "name"),
        ("run: [a]", "run"),
        ("- a\n- b", "list"),
        ("just text", "str"),
        ("a: [1", "settings.yaml"),
        ("name: a\nname: b", "name"),
        ("config: {rate: 1" + "0" * 400 + "}", "config.rate"),
        ("name: &x a", "anchor"),
        ("config: &x {steps: 1}\nname: *x", "anchor"),
        ("name: !!python/object/apply:os.system ['touch hacked']", "python"),
        ("? [1, 2]\n: 3", "settings.yaml"),
        ("1: 3", "settings.yaml"),
        ("a: " + "[" * 3000, "settings.yaml"),
        ("a: \x00", "settings.yaml"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(tmp_path, monkeypatch, text, offender):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refused:
        defaults_from(written(tmp_path, text), nested)
    assert offender in str(refused.value)
    assert "settings.yaml" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


@pytest.mark.parametrize(
    ("text", "name", "verb"),
    [
        ('{"dry_wood": 3, "dry_wood": 4}', "settings.json", burn),
        ('{"config": {"bark_rings": 3, "bark_rings": 4}}', "settings.json", burn),
        ("dry-wood: 3\ndry_wood: 4", "settings.yaml", burn),
        ("config: {bark-rings: 3, bark_rings: 4}", "settings.yaml", burn),
        ("bark-rings: 3\nbark_rings: 4", "settings.yaml", saw),
    ],
)
def test_a_setting_that_is_there_twice_is_refused(tmp_path, text, name, verb):
    with pytest.raises(SettingsError):
        defaults_from(written(tmp_path, text, name), verb)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "huge").write_bytes(b"#" * 2_000_000)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "cut.json").write_text('{"name": "a')
    for name in ("none", "binary", "huge", ".", "list.json", "cut.json"):
        with pytest.raises(SettingsError):
            defaults_from(tmp_path / name, nested)


def test_a_place_on_the_line_is_not_left_open_before_one_that_is_filled(tmp_path):
    assert defaults_from(written(tmp_path, "{a: x, b: 2}"), flat) == {"a": "x", "b": 2}
    with pytest.raises(SettingsError):
        defaults_from(written(tmp_path, "a: x"), flat)


def test_what_is_written_is_read_again(tmp_path):
    config = Config(FlatPlate((0.5, 1e-7)), 7, 3e-05, "linear", (), ((1.0, 2.0),), 1e22, {"a b": 0.1}, ((1.5,),), False)
    values = {"data": Path("a: b #c"), "run": Path("runs/ü\u2028"), "config": config, "name": 'no "quotes"\n'}
    text = settings_text(nested, values)
    assert defaults_from(written(tmp_path, text), nested) == values
    flat_values = {"a": "yes", "b": -3, "config": config, "seed": 1}
    assert defaults_from(written(tmp_path, settings_text(flat, flat_values)), flat) == flat_values
    assert defaults_from(written(tmp_path, settings_text(nested, {})), nested).get("config") == DEFAULT


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_every_plain_value_survives_the_file(value):
    found = read_yaml(f"value: {scalar(value)}")["value"]
    assert found == value
    assert type(found) is type(value)
