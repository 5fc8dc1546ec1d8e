"""Innovations of the size that keeps the spectrum of long runs.

A code of innovations has the spectrum of the errors of single steps from true frames. Frames of a long run are not
quite true ones: where the core damps them a little more, or innovations meet them a little less well, energy is missing
in the end, some percent at the scales that innovations feed. So the forecaster runs on its own from training frames,
and what is found is put right::

    g(k)^2 = E_flow(k) / E_run(k)          d(p, q) <- g(|k|) d(p, q)

with E the energy in a ring of wave numbers and d the deviations of the modes of innovations. Where a core damps a mode
by a fixed share a step, its energy is proportional to d^2, and one round is enough; the runs go on for a few more. Two
things keep chance small. What is missing changes slowly from ring to ring: the energy of each run, over that of the
flow, is averaged over neighbouring rings first, some tenths of an octave. And a run of a few steps is as lively as the
true frames that followed its start: these, of which the mean over all is known, are a control variate, ``E_run - b
(E_true - E_flow)`` with b by least squares over the runs. Six to ten steps from the start, where small scales are those
of a long run already, this leaves 0.4 of the variance (64^2 points, energies above mode 10). A ratio is trusted as far
as it exceeds its own sampling error s, ``log g = 1/2 l l^2 / (l^2 + s^2)`` with l the logarithm of the ratio: large
scales, of which runs show few, are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.modes import to_modes
from domains.turbulence.readers import Windows

ROUNDS = 3
_FRAMES, _TOGETHER = 4096, 64  # of the flow that are compared with; of them at once
_GREATEST = 2.0  # a gain of one round
_WIDTH = 0.15  # octaves, standard deviation of the average over rings
_CONTROLLED = 8  # runs, of which b can be told
_STREAM = 2**33  # keeps the draws of these runs apart from those of forecasts


class Innovating(Protocol):
    """A forecaster whose innovations can be made larger and smaller.

    Attributes:
        description: of the flow.
        history: frames that a step starts from.
        modes: (m_y, m_x) or (m_x,).
    """

    description: FlowDescription
    history: int

    @property
    def modes(self) -> tuple[int, ...]:
        """Of the innovations."""
        ...

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`."""
        ...

    def resize(self, gains: Tensor) -> None:
        """Multiply the innovations of every mode by a positive number, see `modes` for their order."""
        ...


def hold_spectrum(forecaster: Innovating, windows: Windows, runs: int, seed: int = 0, *, progress: bool = True) -> None:
    """Change the size of a forecaster's innovations so that its runs have the spectrum of training frames.

    Args:
        forecaster: trained; its innovations are resized.
        windows: of training samples; a round has as many steps as frames follow in them, and measures the second half.
        runs: of each round, from windows of its own.
        seed: of the starts and the draws.
        progress: whether to show a bar.
    """
    modes = forecaster.modes
    ring = rings(modes, forecaster.description.lengths)
    rng = np.random.default_rng((_STREAM, seed))

    def energies(fields: Tensor) -> Tensor:
        return ring_energy(to_modes(fields, modes), ring)

    chosen = rng.choice(len(windows), min(_FRAMES, len(windows)), replace=False).tolist()
    parts = [chosen[begin : begin + _TOGETHER] for begin in range(0, len(chosen), _TOGETHER)]
    frames = (torch.stack([windows[place][1][0] for place in part]) for part in parts)
    flow = torch.cat([energies(part) for part in frames]).mean(0)

    steps = len(windows[0][1])
    generators = [np.random.default_rng((_STREAM, seed, run)) for run in range(runs)]
    with tqdm(total=ROUNDS * steps, desc="holding the spectrum", unit="step", disable=not progress) as bar:
        for _ in range(ROUNDS):
            pasts, true = [], []
            for place in rng.choice(len(windows), runs).tolist():
                past, future = windows[place]
                pasts.append(past)
                true.append(energies(future[steps // 2 :]).mean(0))
            held, found = torch.stack(pasts), torch.zeros(runs, len(flow), dtype=torch.float64)
            for step in range(steps):
                fields = forecaster.advance(held, generators)
                held = torch.cat([held[:, 1:], fields[:, None]], 1)
                if step >= steps // 2:
                    found += energies(fields) / (steps - steps // 2)
                bar.update()
            forecaster.resize(gains(flow, found, torch.stack(true))[ring])


def gains(flow: Tensor, runs: Tensor, true: Tensor) -> Tensor:
    """Gains ``(K,)``, g of the head of this file.

    Args:
        flow: energy in each ring ``(K,)``.
        runs: of each run ``(R, K)``.
        true: ``(R, K)``, of the frames that truly followed.

    Example:
        >>> runs = torch.tensor([[0.0, 1.0, 0.1], [0.0, 1.0, 1.9]])
        >>> found = gains(torch.tensor([0.0, 4.0, 1.0]), runs, torch.tensor([[0.0, 4.0, 1.0]]).expand(2, 3))
        >>> [round(gain, 3) for gain in found.tolist()]
        [1.0, 2.0, 1.0]
    """
    there = flow > 0
    ring = torch.arange(len(flow), dtype=torch.float64)[there]
    octaves = torch.log2(ring[:, None] / ring)  # ring 0 has no neighbours
    near = torch.exp(-octaves.square() / (2 * _WIDTH**2)).nan_to_num(1.0)
    near = (near / near.sum(1, keepdim=True)).T
    over, control = ((part[:, there].double() / flow[there].double()) @ near for part in (runs, true))
    if len(runs) >= _CONTROLLED:
        known = control - control.mean(0)
        slope = (known * over).sum(0) / known.square().sum(0).clamp_min(1e-30)
        over = over - slope * (control - 1)
    mean = over.mean(0)
    error = over.std(0) / (len(runs) ** 0.5 * mean)
    ratio = -mean.log()
    trusted = ratio * ratio.square() / (ratio.square() + error.square())
    bound = math.log(_GREATEST)
    found = torch.ones(len(flow), dtype=torch.float64)
    found[there] = torch.where(trusted.isfinite(), trusted / 2, 0.0).clamp(-bound, bound).exp()
    return found


def ring_energy(coefficients: Tensor, ring: Tensor) -> Tensor:
    """Energy in each ring ``(N, K)``, float64, of coefficients ``(N, ...)`` of modes."""
    power = torch.view_as_real(coefficients.cpu()).double().square().sum(-1)
    power = torch.cat([power[:, :1], 2 * power[:, 1:]], 1).flatten(1)  # p > 0 stands for two modes
    return torch.zeros(len(power), int(ring.max()) + 1, dtype=torch.float64).index_add_(1, ring.flatten(), power)


def rings(modes: Sequence[int], lengths: Sequence[float]) -> Tensor:
    """The ring of each mode, its wave number in units of the least one, rounded; of the shape of coefficients.

    Example:
        >>> rings((1, 2), (1.0, 1.0)).tolist()
        [[0, 1, 1], [1, 1, 1], [2, 2, 2]]
    """
    longest = max(lengths)
    square = (longest / lengths[-1] * torch.arange(modes[-1] + 1)).square()
    if len(modes) == 2:
        q = torch.arange(2 * modes[0] + 1)
        q = torch.minimum(q, len(q) - q)
        square = square[:, None] + (longest / lengths[0] * q).square()
    return square.sqrt().round().long()
