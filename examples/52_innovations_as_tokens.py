"""Turbulence as tokens: what a deterministic forecast missed is coded, and drawn from a model of its tokens.

Usage: python 52_innovations_as_tokens.py [steps of the core] [steps of the tokens] [steps of the runs at last]

The core is trained in the L2 norm and gives the mean of what can come; left alone it loses the small scales. What it
misses is made white, cut into patches and coded in equally likely bins, and a prefix-LM gives the probabilities of the
codes from the state. Codes drawn evenly have the right size and spectrum by themselves; training, of which there are
seconds here and minutes with `separable turbulence train-innovations`, makes them depend on the state. At last runs of
the forecaster on its own say how large innovations must be for the spectrum to last.
"""

import sys
from pathlib import Path

import torch

from domains.turbulence.descent import DescentConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.diagnostics import energy_spectrum
from domains.turbulence.grid import Grid
from domains.turbulence.innovation_forecaster import InnovationConfig
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.scores import score_forecasts
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.train_innovations import InnovationTrainConfig, train_innovations
from domains.turbulence.training_data import split

DATA = Path(__file__).parents[1] / "datasets" / "kolmogorov_flow" / "sample.h5"
STARTS = range(0, 36, 6)


def main(core_steps: str = "80", token_steps: str = "10", run_steps: str = "24") -> None:
    """Train the core, then the tokens; score, compare spectra, draw."""
    data = read_flow(DATA)
    core = train(data, TrainConfig(DeterministicConfig(), steps=int(core_steps), batch=4, rate=1e-2, held_out=0.25))
    sizes = InnovationConfig(InnovationNetworkConfig(width=32, layers=1, blocks=2), patch=7)
    config = InnovationTrainConfig(
        sizes,
        DescentConfig(steps=int(token_steps), batch=4, rate=1e-2, held_out=0.25),
        examples=150,
        spectrum_steps=int(run_steps),
        spectrum_runs=48,
    )
    tokens = train_innovations(core, data, config)
    more = sum(p.numel() for p in tokens.network.parameters())
    print(f"core: {core.n_parameters} parameters; the model of its innovations: {more}")

    unseen = data.load(split(data, 0.25)[1])
    past = torch.cat([unseen[:, at : at + 1] for at in STARTS])
    future = torch.cat([unseen[:, at + 1 : at + 6] for at in STARTS])
    scale = float(unseen.std())
    for name, forecaster, members in (("core alone", core, 1), ("with tokens", tokens, 4)):
        crps = score_forecasts(forecaster, past, future, scale, members=members).crps.mean(0)
        print(f"{name}: CRPS after 1, 2, 5 frames {[round(float(crps[lead - 1]), 3) for lead in (1, 2, 5)]}")

    grid = Grid((32, 32))
    fields = {"what came": unseen[0, 1:21]}
    for name, forecaster in (("core alone", core), ("with tokens", tokens)):
        run = forecaster.forecast(unseen[0, :1], members=1, steps=20, seed=0)
        fields[name] = torch.as_tensor(run.vorticity.values[0])
    wave_numbers = energy_spectrum(fields["what came"], grid)[0]
    spectra = {name: energy_spectrum(field[10:], grid)[1].mean(0) for name, field in fields.items()}
    small = (wave_numbers >= 8) & (wave_numbers <= 10)
    for name, spectrum in spectra.items():
        share = float(spectrum[small].sum() / spectra["what came"][small].sum())
        print(f"{name}: energy at wave numbers 8 to 10 after 10 frames, share of the truth {share:.2f}")
    draw({name: field[19] for name, field in fields.items()}, wave_numbers[wave_numbers <= 10], spectra)
    print("picture: innovations.png")


def draw(last: dict[str, torch.Tensor], wave_numbers: torch.Tensor, spectra: dict[str, torch.Tensor]) -> None:
    """Write innovations.png: the twentieth frames, and the spectra of the later ones."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    top = float(last["what came"].std())
    for axis, (name, field) in zip(axes, last.items(), strict=False):
        axis.imshow(field.numpy(), origin="lower", cmap="RdBu_r", vmin=-3 * top, vmax=3 * top)
        axis.set(xticks=[], yticks=[], title=f"{name}, frame 20")
    for name, spectrum in spectra.items():
        axes[3].semilogy(wave_numbers, spectrum[: len(wave_numbers)], marker=".", label=name)
    axes[3].set(xlabel="wave number", ylabel="energy")
    axes[3].legend()
    figure.savefig("innovations.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:4])
