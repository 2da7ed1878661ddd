"""Training of the coarse network."""
