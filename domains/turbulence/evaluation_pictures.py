"""Pictures of an evaluation: maps, scores by lead, ranks and spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.scores import LongRun, Scores

Array = NDArray[np.float32]


def colours_of(fields: Array) -> dict[str, Any]:
    """Colours of maps: two about zero for fields of both signs, one scale from the least for those that keep theirs."""
    low, high = np.nanquantile(fields, (0.0025, 0.9975)).tolist()
    if low < 0 < high:
        top = float(np.nanquantile(np.abs(fields), 0.995))
        return {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    return {"cmap": "viridis", "vmin": low, "vmax": high}


def draw_maps(truth: Array, members: Array, leads: tuple[int, ...], description: FlowDescription) -> Any:
    """What came, three members, mean and spread, a row for each lead; in one dimension over x and time.

    Args:
        truth: ``(T, *grid)``.
        members: ``(M, T, *grid)``.
        leads: to show, counted from 1; not used in one dimension.
        description: of the flow.
    """
    import matplotlib.pyplot as plt

    flat = truth.ndim == 3
    shown = min(3, len(members))
    spread = members.std(0, ddof=1) if len(members) > 1 else np.zeros_like(truth)
    names = ["what came", *(f"member {j + 1}" for j in range(shown)), "mean", "spread"]
    rows: list[Any] = [lead - 1 for lead in leads] if flat else [slice(None)]
    figure, axes = plt.subplots(
        len(rows), len(names), figsize=(2 * len(names), 2.05 * len(rows) + 0.9), layout="constrained", squeeze=False
    )
    colours, most = colours_of(truth), max(float(truth.std()), 1e-30)
    options: dict[str, Any] = {"origin": "lower", "aspect": "equal" if flat else "auto"}
    for row, place in enumerate(rows):
        fields = [truth[place], *(members[j][place] for j in range(shown)), members.mean(0)[place], spread[place]]
        for axis, name, field in zip(axes[row], names, fields, strict=True):
            limits = {"cmap": "magma", "vmin": 0, "vmax": most} if name == "spread" else colours
            image = axis.imshow(field, **limits, **options)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(name, fontsize=9)
            if axis is axes[row, -2]:
                of_fields = image
        label = f"lead {leads[row]}, time {leads[row] * description.time_step:g}" if flat else "time, upwards"
        axes[row, 0].set_ylabel(label, fontsize=9)
    below: dict[str, Any] = {"location": "bottom", "pad": 0.01}
    figure.colorbar(of_fields, ax=axes[:, :-1], shrink=0.5, aspect=50, extend="both", **below)
    figure.colorbar(image, ax=axes[:, -1], shrink=0.9, aspect=18, extend="max", **below)
    return figure


def draw_scores(scores: Mapping[str, Scores]) -> Any:
    """CRPS, spread over skill and coverage by lead; the first of the scores is the forecaster's, with its intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    axes[1].axhline(1, color="0.8")
    axes[2].axhline(0.9, color="0.8")
    for place, (name, found) in enumerate(scores.items()):
        lead = np.arange(1, found.crps.shape[1] + 1)
        style: dict[str, Any] = {"color": f"C{place}", "linewidth": 2 if place == 0 else 1.2}
        kinds = ("crps", "spread_over_skill", "coverage") if found.members > 1 else ("crps",)
        for axis, kind in zip(axes, kinds, strict=False):
            if kind != "crps" and place > 0:
                continue  # of the climate both are one, which says nothing
            interval = found.interval(kind)
            axis.plot(lead, interval.estimate.numpy(), label=name, **style)
            axis.fill_between(
                lead, interval.low.numpy(), interval.high.numpy(), color=style["color"], alpha=0.2, linewidth=0
            )
    axes[0].set(title="CRPS (standard deviations)", xlabel="lead (frames)", ylim=(0, None))
    axes[1].set(title="spread / skill", xlabel="lead (frames)", ylim=(0, 1.6))
    axes[2].set(title="coverage of the 90 % interval", xlabel="lead (frames)", ylim=(0, 1.02))
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def draw_ranks(scores: Scores, leads: tuple[int, ...]) -> Any:
    """How often the truth had each rank among the members, over what is even, at some leads."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(leads), figsize=(3 * len(leads), 2.7), layout="constrained", squeeze=False)
    for axis, lead in zip(axes[0], leads, strict=True):
        counts = scores.ranks[:, lead - 1].sum(0).numpy()
        axis.bar(np.arange(len(counts)), counts / counts.sum() * len(counts), width=0.9)
        axis.axhline(1, color="k", linewidth=0.8)
        axis.set_title(f"lead {lead}", fontsize=10)
        axis.set(xlabel="members below the truth", xticks=np.arange(len(counts)), ylim=(0, None))
    axes[0, 0].set_ylabel("frequency over even")
    return figure


def draw_spectra(
    scores: Scores, wave_numbers: torch.Tensor, truth: torch.Tensor, leads: tuple[int, ...], climate: LongRun | None
) -> Any:
    """Spectra of members at some leads and after a long run, and their ratio to the flow's.

    Args:
        scores: of the forecaster.
        wave_numbers: ``(K,)``, of the spectra.
        truth: spectrum of what came at every lead, ``(L, K)``.
        leads: to show.
        climate: of the long run, if there was one.
    """
    import matplotlib.pyplot as plt

    k = wave_numbers.numpy()
    figure, axes = plt.subplots(1, 3 if climate else 2, figsize=(13 if climate else 9, 3.6), layout="constrained")
    axes[0].loglog(k, truth.mean(0).numpy(), "k", linewidth=2.5, label="the flow")
    for place, lead in enumerate(leads):
        spectrum = scores.spectrum[:, lead - 1].mean(0).numpy()
        axes[0].loglog(k, spectrum, f"C{place}", label=f"lead {lead}")
        axes[1].semilogx(k, spectrum / truth[lead - 1].numpy(), f"C{place}")
    if climate:
        label = f"after {climate.steps} steps"
        axes[0].loglog(k, climate.spectrum.numpy(), "C7--", label=label)
        axes[1].semilogx(k, (climate.spectrum / climate.truth_spectrum).numpy(), "C7--")
        axes[2].plot(np.arange(1, len(climate.by_step) + 1), climate.by_step.numpy(), "C7")
        axes[2].axhline(1, color="k", linewidth=0.8)
        axes[2].set(title="enstrophy over the flow's", xlabel="step", ylim=(0.5, 1.5))
    axes[1].axhline(1, color="k", linewidth=0.8)
    axes[0].set(title="energy by wave number", xlabel="k")
    axes[1].set(title="over that of the flow", xlabel="k", ylim=(0, 2))
    axes[0].legend(fontsize=8)
    return figure
