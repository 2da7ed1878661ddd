"""Hyperspectral image super-resolution with DualSR, on JAX."""
