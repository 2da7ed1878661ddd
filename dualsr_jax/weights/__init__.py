"""Weights of trained networks in files, and their exchange with other implementations."""
