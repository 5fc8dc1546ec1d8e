"""Turbulence: flows on periodic grids, solved, measured, stored and read."""
