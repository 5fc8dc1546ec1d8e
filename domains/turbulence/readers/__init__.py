"""Reading flows: our shards, PDEBench's and The Well's HDF5, netCDF, and arrays, all as one lazy `FlowData`."""

from __future__ import annotations

from domains.turbulence.readers.flow_data import FlowData, Windows
from domains.turbulence.readers.lazy_fields import LazyFields
from domains.turbulence.readers.reading import read_flow

__all__ = ["read_flow", "FlowData", "Windows", "LazyFields"]
