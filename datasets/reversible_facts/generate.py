"""Make the samples, or the same at another place: ``python datasets/reversible_facts/generate.py [folder]``."""

import sys
from pathlib import Path

from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts

HERE = Path(__file__).parent
CONFIGS = {
    "surface.h5": ReversibleFactsConfig(both_ways=1000, one_way=600, pairs=2, naming="surface", multiplicity=10),
    "people.jsonl": ReversibleFactsConfig(both_ways=600, one_way=200, pairs=2, naming="natural"),
}


def main(folder: Path = HERE) -> list[Path]:
    """Write the files; each replaces an older one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    return [reversible_facts(config).save(folder / name) for name, config in CONFIGS.items()]


if __name__ == "__main__":
    print(*main(*(Path(argument) for argument in sys.argv[1:2])), sep="\n")
