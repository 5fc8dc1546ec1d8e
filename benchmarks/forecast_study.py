"""A study of forecasters on one data set: settings that are tuned, trainings that are kept and go on where they were.

All models learn from the same samples with the same symmetries for the same minutes of the processor. The setting of a
model is the one that did best after a short training, by scores at lead 1, or at leads 1 and 5, on samples that are
held out of the training and are not those of the test. What is trained lies below the study's folder.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.trial import usual
from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.baselines.u_net import UNetNetwork
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.readers import FlowData
from domains.turbulence.saved import load_forecaster
from domains.turbulence.train import TrainConfig, train
from separable.training import RunFolder

Setting = dict[str, Any]  # of TrainConfig
TUNING = 0.2  # share of the minutes for each setting that is tried


def tried(settings: dict[str, list[Setting]]) -> dict[str, list[Setting]]:
    """What is tried of each model: all its settings, in a trial the first and the last."""
    return {name: found[:: usual(1, trial=max(1, len(found) - 1))] for name, found in settings.items()}


def fourier(channels: int, modes: int, rate: float = 3e-3, layers: int = 4, rounds: int = 1, **more: Any) -> Setting:
    """A Fourier neural operator in L2."""
    model = DeterministicConfig(FourierNetwork(channels, modes, layers, rounds))
    return {"model": model, "optimiser": "adamw", "rate": rate} | more


def u_net(channels: int, levels: int, rate: float = 1e-3, **more: Any) -> Setting:
    """A U-Net in L2."""
    return {"model": DeterministicConfig(UNetNetwork(channels, levels)), "optimiser": "adamw", "rate": rate} | more


def noisy(channels: int, modes: int, rate: float = 3e-3, more: Setting | None = None, **noise: Any) -> Setting:
    """A Fourier neural operator that is trained on the CRPS."""
    model = NoisyConfig(FourierNetwork(channels, modes), **noise)
    return {"model": model, "optimiser": "adamw", "rate": rate, "octave_weight": 1.0} | (more or {})


@dataclasses.dataclass(frozen=True)
class Study:
    """Models and what they learn from.

    Attributes:
        folder: where results are kept.
        data: to learn from.
        settings: of each model; one is taken as it is, of several the best.
        minutes: of the processor, a model.
        common: of every training, such as symmetries.
        scores: whose sum says which setting is best, "crps_1" or "crps_5" or both.
        held: minutes of a model's that pass after its training, in which its spread is held.
    """

    folder: Path
    data: FlowData
    settings: dict[str, list[Setting]]
    minutes: float
    common: Setting = dataclasses.field(default_factory=dict)
    scores: tuple[str, ...] = ("crps_1",)
    held: dict[str, float] = dataclasses.field(default_factory=dict)

    def forecaster(self, name: str, seed: int) -> Forecaster:
        """The forecaster of a model and a seed, trained first if need be."""
        place = self._place(name, seed)
        self._trained(name, self.tuned(name), seed, self.minutes - self.held.get(name, 0.0), place)
        return load_forecaster(place)

    def tuned(self, name: str) -> Setting:
        """The best setting of a model."""
        settings = self.settings[name]
        if len(settings) == 1:
            return settings[0]
        return min(settings, key=lambda setting: sum(self._tried(name, setting)[score] for score in self.scores))

    def rows_of_tried(self, name: str) -> list[dict[str, Any]]:
        """Rows for a record: what each setting of a model reached in a short training."""
        found = [(setting, self._tried(name, setting)) for setting in self.settings[name]]
        return [
            {
                "model": f"{name}, tried: {told_of(setting)}: {last['crps_1']:.4f} and {last['crps_5']:.4f} at leads 1 "
                "and 5",
                "parameters": last["parameters"],
            }
            for setting, last in found
        ]

    def _tried(self, name: str, setting: Setting) -> dict[str, Any]:
        place = self._place(name, f"setting_{self.settings[name].index(setting)}")
        return self._trained(name, setting, 0, TUNING * self.minutes, place)

    def _place(self, name: str, part: int | str) -> Path:
        return self.folder / f"{self.minutes:g} minutes" / name.replace(" ", "_") / str(part)

    def _trained(self, name: str, setting: Setting, seed: int, minutes: float, folder: Path) -> dict[str, Any]:
        finished = folder / "finished.json"
        if not finished.exists():
            config = TrainConfig(**{"minutes": minutes} | self.common | setting, seed=seed)
            kind = type(config.model).__name__
            run = RunFolder(folder, {"name": name, "kind": kind, **dataclasses.asdict(config)}, seed)
            forecaster = train(self.data, config, run=run)
            run.write("finished.json", json.dumps({**run.last_scores(), "parameters": forecaster.n_parameters}))
        found: dict[str, Any] = json.loads(finished.read_text())
        return found


def told_of(setting: Setting) -> str:
    """A setting in words."""
    network = getattr(setting["model"], "network", setting["model"])
    sizes = ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(network).items() if value != ())
    usual = TrainConfig()
    return f"{sizes}, {setting.get('optimiser', usual.optimiser)}, rate {setting.get('rate', usual.rate):g}"
