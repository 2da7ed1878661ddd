"""Scenes and training patches."""
