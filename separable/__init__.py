"""Separable neural architectures: functions of many coordinates from functions of one coordinate each."""

from separable.layers import SeparableLayer

__all__ = ["SeparableLayer"]
