"""Writes the usable bands of scenes as cubes for training: in [0, 1], without gaps.

    python scripts/usable_cubes.py --output data/airborne scene.hdr other.mat

Scenes of any format are normalised by the rules of `large_scene.normalisation`, as `predict` does
it; bad bands are left out, and pixels without data are filled. A cube is a NumPy file of 16-bit
integers, `[H, W, L]`, in which 65535 is full intensity.
"""

import argparse
from pathlib import Path

import numpy as np
from other_scenes import reference

from dualsr_jax.data.images import quantise
from dualsr_jax.disk import replacing


def main() -> None:
    """Writes a cube for each scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for the cubes")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for path in options.scenes:
        cube = quantise(reference(path))
        with replacing(options.output / f"{path.stem}.npy") as partial, partial.open("wb") as file:
            np.save(file, cube)
        print(f"{path.stem}: {'x'.join(map(str, cube.shape))}", flush=True)


if __name__ == "__main__":
    main()
