"""The coarse network, one concept of the paper a file."""
