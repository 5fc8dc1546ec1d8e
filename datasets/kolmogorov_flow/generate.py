"""Make `sample.h5`, or the same at another place: ``python datasets/kolmogorov_flow/generate.py [file]``."""

import sys
import tempfile
from pathlib import Path

from domains.turbulence.data import FlowDataConfig, generate_data, shard_path
from domains.turbulence.flows import KolmogorovFlow

SAMPLE = Path(__file__).with_name("sample.h5")
CONFIG = FlowDataConfig(
    KolmogorovFlow(viscosity=0.01, drag=0.1, forcing_mode=4),
    size=(32, 32),
    trajectories=8,
    frames=42,
    spacing=1.0,
    spin_up=50.0,
    step=0.025,
    shard=8,
)


def main(path: Path = SAMPLE) -> Path:
    """Make the file; one that is there is left as it is."""
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            shard_path(generate_data(folder, CONFIG), 0).replace(path)
    return path


if __name__ == "__main__":
    print(main(*(Path(argument) for argument in sys.argv[1:2])))
