"""Training and test data: sources, splits, patches."""
