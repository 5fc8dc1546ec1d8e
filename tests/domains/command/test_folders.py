"""The verbs at the top, on folders that the toolkit wrote."""

from pathlib import Path

import pytest
import torch

from domains.command.folders import compare, info, list_all, report, resolved, shipped
from domains.command.kinds import KINDS
from domains.command_line import main
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.sketch import SketchCleaner
from domains.microstructure.stress import StressConfig, StressDecoder
from domains.navigation.saved import load_baseline
from domains.turbulence.saved import load_forecaster
from separable.records import find_runs, read_run
from separable.training import RunFolder


def test_models_that_ship_are_known_by_name_and_counted(capsys):
    names = {folder.name: folder for folder in shipped()}
    assert {"waypoints2d", "waypoints3d", "kolmogorov_flow"} <= set(names)
    policy = load_baseline("waypoints2d")[0].policy
    assert info(Path("waypoints2d")).numbers == sum(value.numel() for value in policy.state_dict().values())
    network = load_forecaster(names["kolmogorov_flow"]).network
    held = sum(value.numel() for value in network.state_dict().values())
    assert read_run(names["kolmogorov_flow"], KINDS).numbers == held
    assert "separable turbulence forecast" in capsys.readouterr().out or info(Path("kolmogorov_flow")).uses


def test_models_of_the_domains_are_told_apart(tmp_path):
    model = Janus(JanusConfig((16, 16), ("youngs_x", "youngs_y"), latent=4, width=4), torch.zeros(2), torch.ones(2))
    model.save(tmp_path / "janus")
    SketchCleaner(model, 8).save(tmp_path / "janus" / "sketch")
    StressDecoder(StressConfig(4, (1.0, 10.0), (0.3, 0.3))).save(tmp_path / "janus" / "stress")
    found = read_run(tmp_path / "janus", KINDS)
    assert found.name == "model of cells"
    assert found.numbers == sum(value.numel() for value in model.state_dict().values())
    assert {name: part.name for name, part in found.parts.items()} == {
        "sketch": "cleaner of sketches",
        "stress": "decoder of stress",
    }


def test_a_list_has_a_line_for_each_and_tells_damage(tmp_path, capsys):
    run = RunFolder(tmp_path / "a" / "first", {"rank": 4}, seed=0)
    run.log(step=7, loss=0.25)
    RunFolder(tmp_path / "long", {"rank": 4}, seed=0).log(step=1_234_567)
    RunFolder(tmp_path / "late", {"rank": 4}, seed=0)
    (tmp_path / "late" / "metrics.jsonl").write_text('{"step": 1, "time": 1e300}\n')
    RunFolder(tmp_path / "second", {"rank": 4}, seed=0)
    (tmp_path / "second" / "config.json").write_text("{")
    list_all(tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["domain", "navigation", "train", "evaluate", "render", "inspect", "export"] in lines
    runs = {Path(line[1]).name: " ".join(line[2:]) for line in lines if line[0] == "run"}
    assert set(runs) == {"first", "second", "long", "late"}
    assert "step 1,234,567" in runs["long"]
    assert "damaged" in runs["late"]
    assert "step 7, loss 0.25" in runs["first"]
    assert "damaged" in runs["second"]
    assert len(find_runs(tmp_path, KINDS)) == 4


def test_info_tells_settings_environment_measurements_and_files(tmp_path, capsys):
    run = RunFolder(tmp_path, {"rank": 4, "training": {"rate": 0.125}}, seed=77)
    run.log(step=7, scores={"error": 0.5})
    (tmp_path / "best.safetensors").write_bytes(b"cut off")
    info(tmp_path)
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for wanted in ("what run folder", "seed 77", "setting training.rate 0.125", "last scores.error 0.5"):
        assert wanted in told
    assert "damaged best.safetensors" in told
    assert any(line.startswith("file config.json") for line in told)


def test_runs_are_compared_and_reported_on_the_command_line(tmp_path, capsys):
    for rank in (4, 8):
        run = RunFolder(tmp_path / f"rank{rank}", {"rank": rank}, seed=0)
        for step in (1, 2):
            run.log(step=step, loss=rank / step)
    one, two, page = str(tmp_path / "rank4"), str(tmp_path / "rank8"), tmp_path / "page.html"
    assert main(["compare", one, two, "--output", str(page)]) == 0
    assert ["loss", "2", "4"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert "data:image/png" in page.read_text()
    assert main(["report", one]) == 0
    assert "data:image/png" in (tmp_path / "rank4" / "report.html").read_text()
    assert compare((Path(one), Path(two))).settings == {"rank": (4, 8)}


def test_what_ships_is_not_written_into(tmp_path):
    before = sorted(path.name for path in resolved(Path("waypoints2d")).iterdir())
    with pytest.raises(ValueError):
        report(Path("waypoints2d"))
    assert "unicycle" in report(Path("waypoints2d"), output=tmp_path / "page.html").read_text()
    assert sorted(path.name for path in resolved(Path("waypoints2d")).iterdir()) == before
