"""Cube files: formats, metadata, and guards against damaged ones."""
