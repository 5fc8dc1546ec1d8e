"""Noise as loud as a forecaster errs, ring by ring of wave numbers.

An ensemble that learned for minutes how sure to be is not equally sure at all scales: on 64^2 points (a trial, one
seed) its members were spread 1.3 times as wide as their errors at the largest scales after one step, and 0.75 times at
those of most error. Noise that goes in before the last blocks comes out at much the same wave numbers, so this can be
put right without learning anything. Ensembles start from training frames, and the noise is made louder or softer::

    log g(k) = sum_l s_l(k) log (E_l(k) / V_l(k)) / (2 sum_l s_l(k))            noise(p, q) <- g(|k|) noise(p, q)

with V_l(k) the variance of members in a ring of wave numbers after l steps, E_l(k) the squared error of the mean of
infinitely many, and s_l(k) the share of the ring in the error of all: a ring counts at the leads at which it matters.
One lead is not enough. Errors of successive steps are alike, and members that are spread right after one step were 0.86
as wide as their errors after four.

In rounds, as rings lean on one another; round r goes 1 / r of the way, which averages what the windows of a round have
of their own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from domains.turbulence.held_spectrum import ring_energy, rings
from domains.turbulence.members import rounds_of
from domains.turbulence.noise_forecaster import NoiseForecaster
from domains.turbulence.readers import Windows

LEADS = 4
ROUNDS = 5
_MEMBERS, _TOGETHER = 4, 4  # of each window; windows at once
_GREATEST = 2.0  # a gain of one round
_STREAM = 2**34  # keeps the draws apart from those of forecasts


def hold_spread(
    forecaster: NoiseForecaster, windows: Windows, count: int, seed: int = 0, *, progress: bool = True
) -> None:
    """Change the loudness of a forecaster's noise so that its members are spread as wide as they err.

    Args:
        forecaster: trained, with noise fields; its noise is resized.
        windows: of training samples, with as many frames after the history as leads shall be looked at.
        count: of windows in each round.
        seed: of the windows and the draws.
        progress: whether to show a bar.
    """
    ring = rings(forecaster.config.modes, forecaster.description.lengths)
    rng = np.random.default_rng((_STREAM, seed))
    with tqdm(total=ROUNDS * count, desc="holding the spread", unit="window", disable=not progress) as bar:
        for number in range(1, ROUNDS + 1):
            spread, error = torch.zeros(0), torch.zeros(0)
            chosen = rng.choice(len(windows), min(count, len(windows)), replace=False).tolist()
            for begin in range(0, len(chosen), _TOGETHER):
                pairs = [windows[place] for place in chosen[begin : begin + _TOGETHER]]
                past, future = (torch.stack(frames) for frames in zip(*pairs, strict=True))
                variance, square = _variance_and_error(forecaster, past, future, ring, rng)
                spread, error = (variance, square) if begin == 0 else (spread + variance, error + square)
                bar.update(len(pairs))
            forecaster.resize(gains(spread, error).pow(1 / number)[ring])


def gains(variance: Tensor, error: Tensor) -> Tensor:
    """Gains ``(K,)``, g of the head of this file, from V and E, ``(L, K)`` each.

    Example:
        >>> gains(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 2.25]])).tolist()
        [1.0, 1.5]
    """
    share = error.clamp_min(0) / error.clamp_min(0).sum(1, keepdim=True)
    ratio = torch.where(share > 0, torch.log(error / variance) / 2, 0.0)
    bound = math.log(_GREATEST)
    return ((share * ratio).sum(0) / share.sum(0)).nan_to_num().clamp(-bound, bound).exp()


def _variance_and_error(
    forecaster: NoiseForecaster, past: Tensor, future: Tensor, ring: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """V and E ``(L, K)``, float64, summed over windows ``(B, H, *grid)`` and ``(B, L, *grid)``."""
    held, found = forecaster.standardised(past), []
    truth = forecaster.standardised(future)
    with torch.no_grad():
        for lead in range(truth.shape[1]):
            drawn = rng.standard_normal((_MEMBERS * len(past), forecaster.noise_numbers), dtype=np.float32)
            following = forecaster.step(held, torch.from_numpy(drawn).to(forecaster.device))
            members = following.unflatten(0, (_MEMBERS, -1))
            mean = members.mean(0)
            variance = ring_energy((members - mean).flatten(0, 1), ring).sum(0) / (_MEMBERS - 1)
            error = ring_energy(truth[:, lead] - mean, ring).sum(0) - variance / _MEMBERS
            found.append((variance, error))
            held = torch.cat([rounds_of(held, len(following))[:, 1:], following[:, None]], 1)
    variances, errors = zip(*found, strict=True)
    return torch.stack(variances), torch.stack(errors)
