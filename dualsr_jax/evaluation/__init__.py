"""Evaluation of trained networks, with and without ground truth."""
