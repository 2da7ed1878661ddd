"""Checks that keep damaged files from libraries that cannot take them."""
