"""CoarSR, the coarse network: one concept of the paper per file."""
