"""Ten times the data in the same memory: tokens from text and from tables, windows, logits, fields, sets that are made.

That a fit by rows streams is measured in `test_streaming`. Numpy files and logits are mapped, and their pages are the
system's.
"""

import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import json, sys
from pathlib import Path
folder, size = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(exist_ok=True)
"""
PROGRAMS = {
    "tokens from text": """
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
text = folder / "text.txt"
with text.open("w") as file:
    for number in range(size * 10_000):
        file.write(f"line {number} of a long text, all of it on one subject\\n")
start()
config = TokenizeConfig(CorpusConfig(str(text)), shard=2**16)
write_tokens(folder / "tokens", config, progress=False)
""",
    "tokens from a table": """
import pyarrow, pyarrow.parquet
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
rows = pyarrow.table({"text": [f"row {n} " + "of a table " * 40 for n in range(4_000)]})
with pyarrow.parquet.ParquetWriter(folder / "rows.parquet", rows.schema) as file:
    for _ in range(size):
        file.write_table(rows, row_group_size=4_000)
start()
config = TokenizeConfig(CorpusConfig(str(folder / "rows.parquet")), shard=2**16)
write_tokens(folder / "tokens", config, progress=False)
""",
    "windows of tokens": """
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens, WindowStream
text = folder / "text.txt"
with text.open("w") as file:
    for number in range(size * 10_000):
        file.write(f"line {number} of a long text, all of it on one subject\\n")
config = TokenizeConfig(CorpusConfig(str(text)), shard=2**16)
write_tokens(folder / "tokens", config, progress=False)
start()
stream = WindowStream(Tokens(folder / "tokens").part("train"), 256)
for _ in range(50):
    stream.load(stream.draw(16))
""",
    "tokens from lines of JSON in many files": """
from domains.language.corpus import CorpusConfig
from domains.language.shards import TokenizeConfig, write_tokens
(folder / "corpus").mkdir()
for part in range(size):
    with (folder / "corpus" / f"{part}.jsonl").open("w") as file:
        for number in range(10_000):
            file.write(json.dumps({"text": f"line {number} of file {part}, all of it on one subject"}) + "\\n")
start()
config = TokenizeConfig(CorpusConfig(str(folder / "corpus")), vocabulary=400, shard=2**16)
write_tokens(folder / "tokens", config, progress=False)
""",
    "logits of a teacher": """
import torch
from domains.language.corpus import CorpusConfig
from domains.language.distillation.logits_cache import LogitsCacheConfig, write_logits
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
text = folder / "text.txt"
with text.open("w") as file:
    for number in range(size * 1_000):
        file.write(f"line {number} of a long text, all of it on one subject\\n")
tokens = Tokens(write_tokens(folder / "tokens", TokenizeConfig(CorpusConfig(str(text))), progress=False))
teacher = LanguageModel(LanguageModelConfig(257, TransformerConfig(width=8, layers=1, heads=1)))
start()
config = LogitsCacheConfig("top_k", 32, 256, shard=32)
write_logits(folder / "logits", teacher, tokens, config)
""",
    "cells that are made": """
from domains.microstructure.data import CellDataConfig, generate_data
from domains.microstructure.materials import Materials
start()
config = CellDataConfig((96, 96), count=40 * size, materials=Materials(conductivities=(0.1, 1.0), young=None))
generate_data(folder / "cells.h5", config, block=16, progress=False)
""",
    "flows that are made": """
from domains.turbulence.data import FlowDataConfig, generate_data
start()
config = FlowDataConfig(size=(64, 64), trajectories=8 * size, frames=6, spacing=0.1, spin_up=0.0, shard=4)
generate_data(folder / "flow", config, progress=False)
""",
    **{
        f"fields of a flow, {layout}": f"""
import h5py, numpy as np
from domains.turbulence.readers import read_flow
shape = (20 * size, 10, 64, 64)
def sample(number):
    return np.random.default_rng(number).standard_normal(shape[1:]).astype("f4")
def fill(held):
    for number in range(shape[0]):
        held[number] = sample(number)
{write}
for number in range(len(data.fields)):
    data.fields[number].mean()
"""
        for layout, write in {
            **{
                f"PDEBench, {variable}": f"""
with h5py.File(folder / "periodic.h5", "w") as file:
    for name in ("Vx", "Vy", "density"):
        fill(file.create_dataset(name, shape, "f4", chunks=(1, 10, 64, 64)))
    file["t-coordinate"] = 0.1 * np.arange(11)
    file["x-coordinate"] = file["y-coordinate"] = np.arange(64) / 64
start()
data = read_flow(folder / "periodic.h5", variable="{variable}")
"""
                for variable in ("density", "vorticity")  # which is worked out
            },
            "The Well": """
with h5py.File(folder / "well.hdf5", "w") as file:
    file.attrs.update(dataset_name="dummy", grid_type="cartesian", n_spatial_dims=2, n_trajectories=shape[0])
    axes, scalars = file.create_group("dimensions"), file.create_group("t0_fields")
    axes.attrs["spatial_dims"], scalars.attrs["field_names"] = ["x", "y"], ["tracer"]
    axes["time"], axes["x"], axes["y"] = 0.1 * np.arange(10), np.arange(64.0), np.arange(64.0)
    for axis in "xy":
        group = file.create_group(f"boundary_conditions/{axis}_boundary")
        group.attrs["associated_dims"], group.attrs["bc_type"] = [axis], "PERIODIC"
    held = scalars.create_dataset("tracer", shape, "f4", chunks=(1, 10, 64, 64))
    held.attrs.update(sample_varying=True, time_varying=True, dim_varying=[True, True])
    fill(held)
start()
data = read_flow(folder / "well.hdf5")
""",
            "netCDF": """
with h5py.File(folder / "flow.nc", "w") as file:
    held = file.create_dataset("vorticity", shape, "f4", chunks=(1, 10, 64, 64))
    for place, (name, length) in enumerate(zip(("sample", "time", "y", "x"), shape)):
        file[name] = 0.5 * np.arange(length)
        file[name].make_scale(name)
        held.dims[place].attach_scale(file[name])
    fill(held)
start()
data = read_flow(folder / "flow.nc")
""",
        }.items()
    },
}
# The highest use of memory by what follows, beside what stood before; mapped files count, for they can be let go.
MEASURE = """
import resource
before = 0
def start():
    global before
    # The peak so far stands for what was imported and written; the kernel sets it back to what is in use.
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
"""


def kilobytes(program: str, folder: Path, size: int) -> int:
    """What a program needs beyond what it had when its work began."""
    text = MEASURE + WRITE + program + "\nprint(peak() - before)"
    done = subprocess.run(
        [sys.executable, "-c", text, str(folder), str(size)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.validation
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("name", PROGRAMS)
def test_ten_times_the_data_take_the_same_memory(name, tmp_path):
    few, many = (kilobytes(PROGRAMS[name], tmp_path / str(size), size) for size in (2, 20))
    # Nothing but what a shard and a group of rows take, to which the operating system adds pages of mapped files.
    assert many < 1.5 * few + 30_000, f"{few} and {many} kB"
