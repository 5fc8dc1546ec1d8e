"""The verbs of `separable turbulence`, which are plain functions: generate."""

from __future__ import annotations

from pathlib import Path

from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.diagnostics import correlation
from domains.turbulence.readers import read_flow

_DATA = FlowDataConfig()


def generate(folder: Path, /, config: FlowDataConfig = _DATA, processes: int = 2) -> Path:
    """Make a data set of trajectories of a flow; an interrupted one is finished, to the same bits.

    The flow and its parameters come last, as in
    ``generate runs/decay --config.spin-up 0 config.flow:decaying-turbulence --config.flow.viscosity 0.001``.

    Args:
        folder: where to write the shards.
        config: what to make.
        processes: worker processes, one shard each.
    """
    written = generate_data(folder, config, processes=processes)
    data = read_flow(written, scan=False)
    samples, frames, *_ = data.fields.shape
    told = f"{written}: {samples} trajectories of {frames} frames"
    if frames > 1:
        first = data.load(range(min(samples, 8)))
        alike = correlation(first[:, :-1], first[:, 1:], len(data.spacing)).mean()
        told += f", correlation of neighbouring frames {float(alike):.2f}"
    print(told)
    return written
