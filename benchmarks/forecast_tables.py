"""Tables of forecasters side by side: their scores, and ratios of ours to theirs with intervals over test trajectories.

What is found of a model is a row for each seed: ``crps`` and ``energy``, by trajectory and lead ``(T, L)``, and its
``parameters``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from separable.distributions import BootstrapInterval, bootstrap_interval

Found = dict[str, list[dict[str, Any]]]  # scores of a model, one for each seed
# What our ratio to others is at most, at leads 1 and 5.
BARS = {
    "best deterministic": {1: 0.60, 5: 0.60},
    "the solver": {1: 0.60, 5: 0.60},
    "noisy FNO": {1: 0.60, 5: 0.75},
    "FNO + residuals": {1: 0.75, 5: 0.85},
}
LATE = 10  # from this lead on, no more than 3 % above climatology


def mean(rows: list[dict[str, Any]], key: str) -> torch.Tensor:
    """A score by trajectory and lead ``(T, L)``, mean over seeds."""
    return torch.tensor([row[key] for row in rows], dtype=torch.float64).mean(0)


def ratio(ours: torch.Tensor, theirs: torch.Tensor) -> BootstrapInterval:
    """Ratio of mean scores by lead, with its interval over the test trajectories."""
    leads = min(ours.shape[1], theirs.shape[1])
    both = torch.stack([ours[:, :leads], theirs[:, :leads]], -1)
    return bootstrap_interval(both, lambda drawn: drawn.mean(0)[:, 0] / drawn.mean(0)[:, 1])


def told(interval: BootstrapInterval, lead: int) -> str:
    """A number and its interval."""
    if lead > len(interval.estimate):
        return "-"
    estimate, low, high = (float(part[lead - 1]) for part in (interval.estimate, interval.low, interval.high))
    return f"{estimate:.3f} ({low:.3f} to {high:.3f})"


def seeds_apart(found: Found, names: Sequence[str], lead: int = 1) -> str:
    """How the CRPS moves from seed to seed."""
    parts = []
    for name in names:
        values = [float(np.mean(row["crps"], 0)[lead - 1]) for row in found.get(name, [])]
        if values:
            parts.append(f"{name} {min(values):.4f} to {max(values):.4f}")
    return f"CRPS at lead {lead} over seeds: " + "; ".join(parts)


def table(found: Found, shown: Sequence[int]) -> list[dict[str, Any]]:
    """Scores of every model at some leads."""
    rows = []
    for name, content in found.items():
        crps, energy = mean(content, "crps"), mean(content, "energy")
        row: dict[str, Any] = {"model": name, "parameters": content[0]["parameters"], "seeds": len(content)}
        for lead in (lead for lead in shown if lead <= crps.shape[1]):
            row[f"CRPS {lead}"] = float(crps[:, lead - 1].mean())
        for lead in (1, 5):
            row[f"energy {lead}"] = float(energy[:, lead - 1].mean())
        rows.append(row)
    return rows


def against(found: Found, ours: str, others: Mapping[str, Sequence[str]]) -> tuple[list[dict[str, Any]], bool]:
    """Ratios of our scores to those of others beside their bars, and whether all are reached.

    Args:
        found: scores of every model, climatology among them.
        ours: name of the model.
        others: for a label of `BARS` names of models, the best of which at each lead is compared.
    """
    rows, holds = [], True
    for label, names in others.items():
        for lead, most in BARS[label].items():
            there = {name: float(mean(found[name], "crps")[:, lead - 1].mean()) for name in names if name in found}
            if not there:
                missing = {"baseline": " or ".join(names), "at most": most, "CRPS": "missing", "energy": "missing"}
                rows.append({"over": label, "lead": lead, **missing})
                holds = False
                continue
            best = min(there, key=there.__getitem__)
            row: dict[str, Any] = {"over": label, "lead": lead, "baseline": best, "at most": most}
            for key, word in (("crps", "CRPS"), ("energy", "energy")):
                interval = ratio(mean(found[ours], key), mean(found[best], key))
                row[word] = told(interval, lead)
                holds &= float(interval.estimate[lead - 1]) <= most
            rows.append(row)
    crps = mean(found[ours], "crps")
    late = ratio(crps, mean(found["climatology"], "crps")).estimate[LATE - 1 :]
    worst = float(late.max()) if len(late) else float("nan")
    leads = f"{LATE} to {crps.shape[1]}, worst" if crps.shape[1] > LATE else LATE
    row = {"over": "climatology", "lead": leads, "baseline": "climatology", "at most": 1.03}
    rows.append({**row, "CRPS": f"{worst:.3f}", "energy": "-"})
    return rows, holds and worst <= 1.03
