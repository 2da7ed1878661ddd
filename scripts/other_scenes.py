"""Scores trained weights on scenes of any camera: reduces each scene, restores it and compares.

    python scripts/other_scenes.py --weights cave_x4_small scene.hdr other.mat
    python scripts/other_scenes.py --weights airborne_x4 --mtf 0.3 scene.hdr other.mat
    python scripts/other_scenes.py --weights cave_x4_medium --mtf 0.3 --sharpen 0.3 scene.hdr

The reference is a scene's usable bands, normalised by the rules of `large_scene.normalisation`; it
is reduced by MATLAB bicubic and restored by bicubic, CoarSR and DualSR. With `--mtf`, it is reduced
as an imaging spectrometer does it, by a Gaussian of that modulation transfer at the Nyquist
frequency of the LR pixels, and decimation. With `--sharpen`, the LR image is sharpened for an MTF
before it is restored, as `predict --mtf` does it. Metrics are those of the protocol `dualsr`, with
the scene's own peak. Pixels without data are filled and count.
"""

import argparse
from pathlib import Path

import numpy as np

from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.evaluation.run import evaluate_scene, methods_of
from dualsr_jax.io.cubes import open_cube
from dualsr_jax.large_scene.normalisation import plan, read_normalised, scan
from dualsr_jax.ops.degrade import Degradation, sigma_of_mtf
from dualsr_jax.ops.sharpening import check_mtf, sharpen
from dualsr_jax.protocols import get_protocol
from dualsr_jax.training.restore import restore_dualsr


def reference(path: Path) -> np.ndarray:
    """The usable bands of a scene, `[H, W, K]`, float32, in [0, 1]."""
    with open_cube(path) as scene:
        normalisation = plan(scan(scene), scene.dtype, scene.metadata)
        height, width, _ = scene.shape
        bands, _ = read_normalised(scene, slice(0, height), slice(0, width), normalisation)
    return np.moveaxis(bands, 0, -1).clip(0, 1)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument(
        "--weights", default="cave_x4_small", help="folder, file or name of shipped weights"
    )
    parser.add_argument(
        "--half_weights", help="weights of the half-scale network: folder, file or name"
    )
    parser.add_argument("--ensemble", type=int, default=1, choices=(1, 8, 16))
    parser.add_argument("--mtf", type=float, help="blur instead of bicubic: more than 0, below 1")
    parser.add_argument("--sharpen", type=float, help="MTF to compensate: from 0.1 to below 1")
    options = parser.parse_args()
    if options.mtf is not None and not 0 < options.mtf < 1:
        parser.error(f"--mtf={options.mtf} is not a modulation transfer: more than 0, below 1")
    if options.sharpen is not None:
        try:
            check_mtf(options.sharpen)
        except ValueError as error:
            parser.error(f"--sharpen: {error}")
    dualsr = restore_dualsr(options.weights, options.half_weights, ensemble=options.ensemble)
    scale, methods = dualsr.scale, methods_of(dualsr)
    degradation = Degradation()
    if options.mtf is not None:
        degradation = Degradation("isotropic", (sigma_of_mtf(options.mtf, scale),) * 2)
    print(f"| x{scale} | size | " + " | ".join(methods) + " |")
    print("| --- " * (2 + len(methods)) + "|")
    for path in options.scenes:
        hr, lr = reference_and_lr(
            reference(path), scale, degradation=degradation, name=path.stem, seed=0
        )
        if options.sharpen is not None:
            bands = [sharpen(image, options.sharpen, scale) for image in np.moveaxis(lr, -1, 0)]
            lr = np.stack(bands, -1)
        scores = evaluate_scene(dualsr, hr, lr, get_protocol("dualsr"))[1]["scores"]
        cells = (
            "{psnr_db:.3f} / {ssim:.4f} / {sam_deg:.3f}".format(**scores[method])
            for method in methods
        )
        size = "x".join(map(str, hr.shape))
        print(f"| {path.stem} | {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
