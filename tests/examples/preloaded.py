"""What the examples import and takes long; see `forked`."""

import importlib
import os

os.environ["MPLBACKEND"] = "Agg"
for name in ("torch", "matplotlib.pyplot", "scipy.optimize", "h5py", "xarray", "sklearn.ensemble", "stable_baselines3"):
    importlib.import_module(name)
