"""The same flows in exponax 0.2, run in an environment of its own, since it brings JAX.

`make benchmark` makes that environment, or

    python -m venv somewhere && somewhere/bin/pip install exponax==0.2.0
    EXPONAX_PYTHON=somewhere/bin/python python -m benchmarks.turbulence_solver

As a module it is called by the benchmark and starts that interpreter; as a script it is what runs there, and needs
nothing of this project. The scheme is the same (ETDRK4, Cox and Matthews), the nonlinear term is in advective form with
five transforms, the 2/3 rule keeps one mode less where n is no multiple of 6. exponax's vorticity is minus ours (its
u is + d/dy of the inverse Laplacian of w) and its arrays are ``(channel, x, y)``; a force of amplitude A is -A there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

USUAL = Path(__file__).parents[1] / ".venv/exponax/bin/python"


def exponax(jobs: list[dict[str, Any]], starts: list[np.ndarray]) -> list[dict[str, Any]] | None:
    """Run jobs in the environment that EXPONAX_PYTHON names, by default that of the Makefile; None if there is none.

    Args:
        jobs: each with ``flow`` (kolmogorov, decaying or kuramoto_sivashinsky), its parameters, ``length``, ``step``,
            ``steps``, ``repetitions`` and ``dtype``.
        starts: fields ``(B, y, x)`` or ``(B, x)`` of each.

    Returns:
        Of each job the ``fields`` after the steps and ``seconds`` of one step, fastest and median.
    """
    python = os.environ.get("EXPONAX_PYTHON", str(USUAL))
    if not Path(python).exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(given, jobs=json.dumps(jobs), **{f"start{i}": start for i, start in enumerate(starts)})
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        environment = {**os.environ, "XLA_FLAGS": flags, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        subprocess.run([python, __file__, str(given), str(found)], check=True, env=environment)
        with np.load(found) as results:
            return [
                {"fields": results[f"fields{i}"], "fastest": float(t[0]), "median": float(t[1])}
                for i, t in enumerate(results["seconds"])
            ] + [{"version": str(results["version"])}]


def _main(given: str, found: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    import exponax as ex
    import jax.numpy as jnp

    with np.load(given) as file:
        jobs = json.loads(str(file["jobs"]))
        starts = [file[f"start{i}"] for i in range(len(jobs))]
    results: dict[str, Any] = {}
    seconds = []
    for index, (job, start) in enumerate(zip(jobs, starts, strict=True)):
        if job["flow"] == "kolmogorov":
            stepper = ex.stepper.KolmogorovFlowVorticity(
                2,
                job["length"],
                start.shape[-1],
                job["step"],
                diffusivity=job["viscosity"],
                drag=-job["drag"],
                injection_mode=job["forcing_mode"],
                injection_scale=-job["forcing_amplitude"],
                order=4,
            )
            state = -np.swapaxes(start, 1, 2)[:, None]
        elif job["flow"] == "decaying":
            stepper = ex.stepper.NavierStokesVorticity(
                2,
                job["length"],
                start.shape[-1],
                job["step"],
                diffusivity=job["viscosity"],
                drag=-job["drag"],
                order=4,
            )
            state = -np.swapaxes(start, 1, 2)[:, None]
        else:
            stepper = ex.stepper.KuramotoSivashinskyConservative(
                1, job["length"], start.shape[-1], job["step"], order=4
            )
            state = start[:, None]
        if job["dtype"] == "float32":
            stepper = jax.tree_util.tree_map(_single, stepper)
        state = jnp.asarray(state, dtype=job["dtype"])
        # All steps in one compiled loop, so that nothing of Python is timed.
        advance = jax.jit(jax.vmap(ex.repeat(stepper, job["steps"])))
        fields = advance(state).block_until_ready()
        times = []
        for _ in range(job["repetitions"]):
            began = time.perf_counter()
            advance(state).block_until_ready()
            times.append((time.perf_counter() - began) / job["steps"])
        seconds.append((min(times, default=np.nan), np.median(times) if times else np.nan))
        plain = np.asarray(fields)[:, 0]
        results[f"fields{index}"] = -np.swapaxes(plain, 1, 2) if plain.ndim == 3 else plain
    np.savez(found, seconds=np.array(seconds), version=f"exponax {ex.__version__}, jax {jax.__version__}", **results)


def _single(leaf: Any) -> Any:
    """Coefficients in single precision, as a user who never asked for more would have them."""
    if hasattr(leaf, "dtype") and leaf.dtype in (np.float64, np.complex128):
        return leaf.astype(np.float32 if leaf.dtype == np.float64 else np.complex64)
    return leaf


if __name__ == "__main__":
    _main(*sys.argv[1:3])
