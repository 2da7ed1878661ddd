"""The networks that DualSR is compared with, one method per file."""
