"""A little data set for the tests of its preparation."""

from dualsr_jax.data.tfds_builder import CubeSet

SCENES = ("beads", "cloth", "watercolors")


def cube_set(**changes):
    defaults = {
        "title": "Little CAVE",
        "scenes": SCENES,
        "shape": (6, 5, 7),
        "dtypes": ("uint16",),
        "dtype_exceptions": {"watercolors": ("uint8",)},
        "description": "three scenes.",
        "homepage": "https://example.org",
        "citation": "nobody",
        "layout": "<scene>_ms/<scene>_ms/*.png",
    }
    return CubeSet(**{**defaults, **changes})
