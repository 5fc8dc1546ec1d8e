"""The wheel in empty environments: the core with its dependencies alone, and each extra with what it declares.

An environment holds what the wheel's own metadata asks for and nothing else, so what a package of ours imports without
declaring it is missing.
"""

import email
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

third_party = pytest.importorskip("tools.third_party")  # reads pyproject.toml, from Python 3.11 on
pytestmark = pytest.mark.validation
ROOT = Path(__file__).parents[3]
BUILD = [sys.executable, "-m", "build", "--no-isolation"]  # nothing is fetched
_LEFT_OUT = ("*.egg-info", "__pycache__", "build", "dist", "runs", ".*")

# Packages whose modules an extra has to be enough for; the rest of `separable` is the core's.
PACKAGES = {
    "learn": ("separable.estimators",),
    "command": ("domains.command",),
    "microstructure": ("domains.microstructure",),
    "turbulence": ("domains.turbulence",),
    "navigation": ("domains.navigation",),
    "language": ("domains.language",),
    "serve": ("separable.serving", "domains.serve"),
}
NOT_OF_THE_CORE = ("separable.estimators", "separable.serving", "separable.testing")  # testing is for pytest's users
NEEDS_ANOTHER = {
    "domains.language.hugging_face": "huggingface",
    "domains.turbulence.serving": "serve",
    "separable.estimators.drawing": "plot",
}

COMMANDS = {
    "core": """
        import torch, separable
        from separable.atoms import BSpline
        from separable.interactions import CanonicalPolyadic
        x = torch.rand(200, 2, dtype=torch.float64)
        layer = separable.SeparableLayer(2, 1, atoms=BSpline(4), interaction=CanonicalPolyadic(2)).double()
        report = separable.fit(layer, x, x[:, 0] * x[:, 1])
        assert float((layer(x)[:, 0] - x[:, 0] * x[:, 1]).abs().max()) < 1e-3
    """,
    "learn": """
        import numpy, separable
        x = numpy.random.default_rng(0).random((60, 2))
        assert separable.SeparableRegressor().fit(x, x[:, 0]).score(x, x[:, 0]) > 0.9
    """,
    "plot": """
        import matplotlib.figure
        from separable.training import RunFolder
        assert RunFolder("run", {}, 0).figure("empty", matplotlib.figure.Figure()).stat().st_size > 100
    """,
    "fields": """
        import h5py, xarray
        xarray.Dataset({"u": ("x", [1.0, 2.0])}).to_netcdf("u.nc", engine="h5netcdf")
        assert float(xarray.open_dataset("u.nc", engine="h5netcdf").u.sum()) == 3
    """,
    "command": ["--help"],
    "microstructure": [
        *("microstructure", "generate", "cells.h5", "--processes", "1"),
        *("--config.size", "16", "16", "--config.count", "4", "--config.feature", "0.4", "0.7"),
    ],
    "turbulence": """
        import numpy
        from domains.turbulence.demonstration import TRAINED
        from domains.turbulence.noise_forecaster import NoiseForecaster
        forecaster = NoiseForecaster.load(TRAINED)
        past = numpy.random.default_rng(0).standard_normal((forecaster.history, 64, 64)).astype("float32")
        assert forecaster.forecast(past, members=2, steps=1).sizes
    """,
    "navigation": ["navigation", "evaluate", "--episodes", "4", "--out", "evaluation.json"],
    "language": ["language", "reversal", "generate", "facts.jsonl", "--both-ways", "20", "--one-way", "10"],
    "serve": ["serve", "--help"],
    "navigation,onnx": ["navigation", "export", "--out", "policy.onnx"],
    "turbulence,video": """
        import numpy
        from domains.turbulence.animation import animate_forecast
        from domains.turbulence.demonstration import TRAINED
        from domains.turbulence.noise_forecaster import NoiseForecaster
        random = numpy.random.default_rng(0)
        truth, members = random.standard_normal((4, 32, 32)), random.standard_normal((2, 3, 32, 32))
        path = animate_forecast(truth, members, NoiseForecaster.load(TRAINED).description, "film.mp4")
        assert path.read_bytes()[4:8] == b"ftyp"  # an MP4 begins so
    """,
    "language,huggingface": """
        import torch
        from domains.language.hugging_face import SeparableForCausalLM
        from separable.sequence import LanguageModel, LanguageModelConfig
        from transformers import AutoModelForCausalLM
        model = LanguageModel(LanguageModelConfig(300)).eval()
        model.save("model")
        tokens = torch.arange(20)[None]
        assert torch.equal(AutoModelForCausalLM.from_pretrained("model").eval()(tokens).logits, model(tokens))
    """,
    "demo": """
        import interpret
        import domains.demo
    """,
}

PROGRAM = """
import torch
import separable
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic

layer = separable.SeparableLayer(3, 1, atoms=BSpline(8), interaction=CanonicalPolyadic(3))
x: torch.Tensor = torch.rand(10, 3)
report: separable.FitReport = separable.fit(layer, x, x[:, 0])
slope: torch.Tensor = layer.derivative(x, (1, 0, 0))
found: separable.Inversion = separable.invert(layer, 0.5, n_solutions=4)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the source archive, from a copy of the sources."""
    copy, out = tmp_path_factory.mktemp("copy") / "sources", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    subprocess.run([*BUILD, "--outdir", out, copy], check=True, capture_output=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def needed(wheel: Path, extra: str) -> set[str]:
    """Names of all that the wheel and an extra of it ask for, with what these ask for; "" is the core alone."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        stated = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    found = set()
    for line in map(Requirement, stated):
        if line.marker is None or line.marker.evaluate({"extra": extra}):
            line.marker = None
            found |= set(third_party.closure(line))
            if line.name == "separable":
                found |= {name for own in line.extras for name in needed(wheel, own)}
    return found


def filled(environment, wheel: Path, extra: str) -> None:
    """Install the wheel beside what it and its extras declare; pip is asked whether anything is missing."""
    for one in extra.split(","):
        environment.link(needed(wheel, one))
    environment.pip("install", "--no-deps", "--no-index", str(wheel))
    environment.pip("check")


def imported(environment, packages: tuple[str, ...], left_out: tuple[str, ...]) -> list[str]:
    """Import every module of some packages in an environment; returns their names."""
    program = f"""
import importlib, pkgutil
names = []
def walk(name):
    if name.startswith({left_out!r} or ("-",)):
        return
    module = importlib.import_module(name)
    names.append(name)
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name != "__main__":
            walk(f"{{name}}.{{found.name}}")
for package in {packages!r}:
    walk(package)
print(*names)
"""
    return environment.run(environment.programs / "python", "-I", "-c", program).split()


def test_the_wheel_holds_the_packages_their_types_and_nothing_else(built) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"separable", "domains"}
    assert "separable/py.typed" in names
    assert "domains/py.typed" in names
    assert not [name for name in names if "/test_" in name or name.endswith((".pyc", ".pkl"))]
    sources = {str(file.relative_to(ROOT)) for top in ("separable", "domains") for file in (ROOT / top).rglob("*.py")}
    assert sources <= set(names)
    assert [name for name in names if name.startswith("domains/navigation/baselines/") and name.endswith("safetensors")]
    assert built[0].stat().st_size < 10e6


def test_the_source_archive_builds_the_same_wheel(built, tmp_path) -> None:
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (sources,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "THIRD_PARTY.md"} <= {
        file.name for file in sources.iterdir()
    }
    subprocess.run([*BUILD, "--wheel", "--outdir", tmp_path / "again", sources], check=True, capture_output=True)
    (again,) = (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(built[0]) as one, zipfile.ZipFile(again) as other:
        assert sorted((file.filename, file.CRC) for file in one.infolist()) == sorted(
            (file.filename, file.CRC) for file in other.infolist()
        )


@pytest.mark.parametrize("extra", COMMANDS)
def test_an_environment_with_what_is_declared_is_enough(extra, built, environment, tmp_path) -> None:
    if "huggingface" in extra:
        pytest.importorskip("transformers")
    filled(environment, built[0], "" if extra == "core" else extra)
    if extra == "core":
        assert not (environment.site / "sklearn").exists()
        assert len(imported(environment, ("separable",), NOT_OF_THE_CORE)) > 100
    elif extra in PACKAGES:
        assert len(imported(environment, PACKAGES[extra], tuple(NEEDS_ANOTHER))) > len(PACKAGES[extra])
    command = COMMANDS[extra]
    if isinstance(command, str):
        environment.run(environment.programs / "python", "-I", "-c", textwrap.dedent(command), folder=tmp_path)
    else:
        environment.run(environment.programs / "separable", *command, folder=tmp_path)


def test_a_users_program_is_checked_by_mypy_against_the_wheel(built, environment, tmp_path) -> None:
    filled(environment, built[0], "")
    script = tmp_path / "simulation.py"
    checker = [sys.executable, "-m", "mypy", "--strict", "--python-executable", environment.programs / "python"]
    for wrong in ("", 'wrong: str = layer.derivative(x, "first")\n'):
        script.write_text(PROGRAM + wrong)
        done = subprocess.run([*checker, script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.count("error:") == (2 if wrong else 0), done.stdout  # the value's type, and the argument's
