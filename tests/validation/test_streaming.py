"""Fitting streams: ten million rows take no more memory than one million."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch, separable
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic

class Stream:
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(int(sys.argv[1]) // 100_000):
            x = torch.rand(100_000, 3, generator=generator)
            yield x, torch.sin(3 * x[:, 0]) * x[:, 1] + x[:, 2]

torch.set_num_threads(2)
layer = separable.SeparableLayer(3, 1, atoms=BSpline(4, 3), interaction=CanonicalPolyadic(rank=2))
options = {"method": "alternating_least_squares", "max_steps": 2, "rank_growth": False}
report = separable.fit(layer, Stream(), **options)
print(report.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, report.training)
"""


def run(rows: int) -> tuple[int, float, float]:
    command = [sys.executable, "-c", PROGRAM, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, memory, error = done.stdout.split()
    return int(seen), float(memory), float(error)


@pytest.mark.validation
def test_ten_million_rows_are_fitted_in_the_memory_of_one_million() -> None:
    few, memory_of_few, _ = run(1_000_000)
    many, memory_of_many, error = run(10_000_000)
    assert (few, many) == (1_000_000, 10_000_000)
    assert memory_of_many < 1.1 * memory_of_few
    assert error < 0.1
