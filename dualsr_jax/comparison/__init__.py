"""Comparison of several trained networks on one data set."""
