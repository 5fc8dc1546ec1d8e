"""Microstructure: properties of materials with structure, and structures with wanted properties."""
