"""Make `sample.h5`, or the same at another place: ``python datasets/two_phase_cells/generate.py [file]``."""

import sys
from pathlib import Path

from domains.microstructure.data import CellDataConfig, generate_data

SAMPLE = Path(__file__).with_name("sample.h5")
CONFIG = CellDataConfig(size=(32, 32), count=1200, feature=(0.25, 0.5))


def main(path: Path = SAMPLE) -> Path:
    """Make the file; a finished one is left as it is."""
    return generate_data(path, CONFIG, processes=2)


if __name__ == "__main__":
    print(main(*(Path(argument) for argument in sys.argv[1:2])))
